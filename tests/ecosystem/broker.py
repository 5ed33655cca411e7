"""A broker that is killed and started again: this project's binary, or a real Kafka for proving the suites.

Owns one process, its data directory and its port; both stay the same over restarts. Waits until the broker
serves, and says which of its log lines to read when it does not.
"""

import os
import pathlib
import random
import signal
import socket
import subprocess
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
READY_SECONDS_MAX = 90
# Below Linux' ephemeral ports (32768 and up): while the broker is down, a client that tries again and again from
# ephemeral ports would one day connect to itself, and the port would be taken when the broker comes back.
PORTS = range(21000, 31000)


def free_port(rng):
    while True:
        port = rng.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Broker:
    """`target` is chronik or kafka; everything else is the same for both."""

    def __init__(self, target, binary, folder, port_rng):
        self.target, self.binary, self.folder = target, binary, pathlib.Path(folder)
        self.port, self.http = free_port(port_rng), free_port(port_rng)
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.process, self.kills = None, 0
        self.folder.mkdir(parents=True)

    def start(self):
        if self.target == "kafka":
            # As with ours: groups form at once.
            done = subprocess.run(
                [HERE.parent / "oracle" / "kafka.sh", "start", self.folder, str(self.port), "--heap", "384M",
                 "--set", "group.initial.rebalance.delay.ms=0"],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if done.returncode != 0:
                raise RuntimeError(f"Kafka did not start: {done.stderr[-2000:]}")
            return
        log = open(self.folder / "broker.log", "ab")
        self.process = subprocess.Popen(
            [self.binary, "start", "--data-dir", self.folder / "data", "--kafka-addr", self.bootstrap,
             "--http-addr", f"127.0.0.1:{self.http}"],
            env={**os.environ, "CHRONIK_GROUP_INITIAL_REBALANCE_DELAY_MS": "0"}, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the broker did not come up; its last lines:\n{self.tail()}")
            time.sleep(0.1)

    def _ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/health/ready", timeout=2):
                return True
        except OSError:
            return False

    def _pid(self):
        if self.target == "kafka":
            return int((self.folder / "kafka.pid").read_text())
        return self.process.pid

    def alive(self):
        try:
            pid = self._pid()
            if self.process is not None:
                return self.process.poll() is None
            os.kill(pid, 0)
            return True
        except (OSError, AttributeError):
            return False

    def kill(self):
        """kill -9, and not back before the process is gone: its port and its lock are free then."""
        if not self.alive():
            raise RuntimeError(f"the broker ended by itself; its last lines:\n{self.tail()}")
        pid = self._pid()
        os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        else:
            while self.alive():
                time.sleep(0.05)
        self.kills += 1

    def stop(self):
        if self.alive():
            os.kill(self._pid(), signal.SIGKILL)
            if self.process is not None:
                self.process.wait()

    def tail(self, lines=25):
        log = self.folder / ("kafka.log" if self.target == "kafka" else "broker.log")
        text = [line for line in log.read_text(errors="replace").splitlines() if " INFO " not in line]
        return "\n".join(text[-lines:])


class Killer(threading.Thread):
    """Kills the broker about every `seconds` and starts it again, until told to stop."""

    def __init__(self, broker, seconds, seed):
        super().__init__(daemon=True)
        self.broker, self.seconds, self.random = broker, seconds, random.Random(seed)
        self.over, self.fault = threading.Event(), None

    def run(self):
        try:
            while not self.over.wait(self.seconds * self.random.uniform(0.6, 1.4)):
                self.broker.kill()
                time.sleep(self.random.uniform(0.0, 1.5))
                self.broker.start()
        except Exception as fault:  # told to whoever waits: a thread's exception alone would pass unseen
            self.fault = fault

    def finish(self):
        self.over.set()
        self.join()
        if self.fault:
            raise self.fault
