"""Java programs of the workloads: class paths, compilation, and processes that are started, awaited and killed."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import zlib

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "chronik"
JARS = CACHE / "ecosystem"
# What Flink's serializers need of Java 17's closed packages.
FLINK_OPENS = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in
               ("java.lang", "java.lang.reflect", "java.net", "java.nio", "java.util", "java.util.concurrent", "java.time")]


class Jars:
    """Class paths of the two worlds. Classes lie under their sources' checksum: a change compiles anew."""

    def __init__(self):
        if not (JARS / "kafka").exists():
            raise SystemExit(f"no jars in {JARS}: run scripts/setup.sh clients ecosystem")
        # The order matters: SmokeTestUtil is in both test jars, and 4.3.0's is meant.
        self.kafka = self._compiled("kafka", f"{JARS}/kafka/*:{JARS}/eos-driver/*")
        self.flink = self._compiled("flink", f"{JARS}/flink/*")

    @staticmethod
    def _compiled(world, jars):
        sources = sorted((HERE / world / "java").rglob("*.java"))
        sum_ = zlib.crc32(b"".join(source.read_bytes() for source in sources))
        classes = CACHE / "ecosystem-classes" / f"{world}-{sum_:08x}"
        if not classes.exists():
            build = tempfile.mkdtemp(prefix="ecosystem-")
            subprocess.run(["javac", "-nowarn", "-XDsuppressNotes", "-proc:none", "-d", build, "-cp", jars, *sources], check=True)
            classes.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(build, classes, dirs_exist_ok=True)
            shutil.rmtree(build)
        return f"{classes}:{jars}"


class Java:
    """One JVM, its output in a file. Ended by `kill` (-9), `stop` (TERM) or itself."""

    def __init__(self, class_path, log, main, *arguments, heap="256M", opens=()):
        self.log, self.main = pathlib.Path(log), main
        self.output = open(self.log, "ab")
        self.process = subprocess.Popen(
            ["java", f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true", *opens,
             f"-Dorg.slf4j.simpleLogger.defaultLogLevel={os.environ.get('ECOSYSTEM_LOG', 'error')}",
             "-Dorg.slf4j.simpleLogger.showDateTime=true", "-cp", class_path, main, *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT)

    def text(self):
        return self.log.read_text(errors="replace")

    def await_text(self, wanted, seconds):
        deadline = time.monotonic() + seconds
        while wanted not in self.text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.main} did not say {wanted!r} within {seconds} s:\n{self.text()[-3000:]}")
            time.sleep(0.2)

    def await_end(self, seconds, check=True):
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"{self.main} still ran after {seconds} s:\n{self.text()[-3000:]}") from None
        if check and code != 0:
            raise RuntimeError(f"{self.main} ended with {code}:\n{self.text()[-6000:]}")
        return code

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        if self.alive():
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self.output.close()

    def stop(self, seconds=60):
        self.process.send_signal(signal.SIGTERM)
        self.await_end(seconds, check=False)
