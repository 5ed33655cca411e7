"""The brokers under comparison: how each is started, asked whether it serves, and ended.

Owns processes and data directories. Every broker runs on one core and on its own defaults; what is
set beyond them is named here and printed with the result.
"""

import os
import shutil
import signal
import socket
import struct
import subprocess
import time

import host

START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 60
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KAFKA_SH = os.path.join(ROOT, "tests", "oracle", "kafka.sh")


def answers(port):
    """Whether the broker on this port answers ApiVersions v0 without an error."""
    body = struct.pack(">hhih", 18, 0, 7, -1)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            reply = b""
            while len(reply) < 10:
                more = connection.recv(4096)
                if not more:
                    return False
                reply += more
    except OSError:
        return False
    _length, correlation, error = struct.unpack(">iih", reply[:10])
    return correlation == 7 and error == 0


class Broker:
    """One broker with one data directory."""

    def __init__(self, name, directory):
        self.name, self.directory = name, os.path.join(directory, name)
        self.port, self.pid, self.starter = None, None, None
        os.makedirs(self.directory, exist_ok=True)

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Starts it and returns the seconds until it first answered ApiVersions."""
        self.port = host.free_port()
        began = time.monotonic()
        self.launch()
        while not answers(self.port):
            if self.starter.poll() not in (None, 0):
                raise RuntimeError(f"{self.name} did not start: {self.last_words()}")
            if time.monotonic() - began > START_TIMEOUT_S:
                raise RuntimeError(f"{self.name} did not answer in {START_TIMEOUT_S} s: {self.last_words()}")
            time.sleep(0.002)
        took = time.monotonic() - began
        self.settle()
        return took

    def end(self, signal_number):
        """Ends it; SIGTERM asks for a clean stop, SIGKILL is a crash. Returns the seconds."""
        began = time.monotonic()
        if self.pid is None:
            return 0.0
        os.kill(self.pid, signal_number)
        while os.path.exists(f"/proc/{self.pid}") and not self.reaped():
            if time.monotonic() - began > STOP_TIMEOUT_S:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.005)
        self.pid = None
        return time.monotonic() - began

    def reaped(self):
        return self.starter.poll() is not None and self.starter.pid == self.pid

    def last_words(self):
        with open(os.path.join(self.directory, "start.log"), errors="replace") as file:
            return " | ".join(file.read().splitlines()[-3:])

    def remove(self):
        """Ends it and deletes its data."""
        self.end(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def disk_bytes(self):
        """Bytes its files occupy."""
        done = subprocess.run(["du", "-s", "--block-size=1", self.directory], capture_output=True, text=True, check=False)
        return int(done.stdout.split()[0])


class Kafka(Broker):
    """Apache Kafka 4.3, one KRaft node, defaults; `settings` beyond them."""

    def __init__(self, name, directory, settings=()):
        super().__init__(name, directory)
        self.settings = settings

    def launch(self):
        options = [part for setting in self.settings for part in ("--set", setting)]
        command = [KAFKA_SH, "start", self.directory, str(self.port), "--cpus", str(host.BROKER_CORE), *options]
        log = open(os.path.join(self.directory, "start.log"), "ab")
        # kafka.sh returns once the broker serves; the broker outlives it.
        self.starter = subprocess.Popen(command, stdout=log, stderr=log)

    def end(self, signal_number):
        took = super().end(signal_number)
        pid_file = os.path.join(self.directory, "kafka.pid")
        if os.path.exists(pid_file):
            os.unlink(pid_file)
        return took

    def settle(self):
        if self.starter.wait(START_TIMEOUT_S) != 0:
            raise RuntimeError(f"{self.name} did not start: {self.last_words()}")
        with open(os.path.join(self.directory, "kafka.pid")) as file:
            self.pid = int(file.read())

    def reaped(self):
        # Its parent is gone, so its zombie, if any, belongs to init.
        with open(f"/proc/{self.pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"


class Chronik(Broker):
    """This broker, defaults, fsync on."""

    settings = ()

    def __init__(self, name, directory, binary):
        super().__init__(name, directory)
        self.binary = binary

    def launch(self):
        command = [
            self.binary, "start", "--data-dir", os.path.join(self.directory, "data"),
            "--kafka-addr", self.bootstrap, "--http-addr", f"127.0.0.1:{host.free_port()}",
        ]
        log = open(os.path.join(self.directory, "start.log"), "ab")
        self.starter = subprocess.Popen(host.pinned(host.BROKER_CORE, command), stdout=log, stderr=log)
        self.pid = self.starter.pid  # taskset becomes the broker, it does not fork

    def settle(self):
        pass


def make(names, directory, chronik_binary):
    """The brokers by name, in the order given."""
    known = {
        "kafka": lambda: Kafka("kafka", directory),
        # Kafka's way to fsync before it acknowledges: flush every log after each message.
        "kafka-fsync": lambda: Kafka("kafka-fsync", directory, ["log.flush.interval.messages=1"]),
        "chronik": lambda: Chronik("chronik", directory, chronik_binary),
    }
    return [known[name]() for name in names]
