"""The machine: which core does what, who else used it, what it is.

Owns everything read from /proc. A figure that cannot be read is None, never zero.
"""

import os
import platform
import socket
import subprocess
import time

BROKER_CORE = 0
LOAD_CORE = 1
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MB = 1e6


def check():
    """Says why this machine cannot run the comparison, or None."""
    if platform.system() != "Linux":
        return "pinning and /proc are Linux's: run the comparison there"
    if not {BROKER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        return "two cores are needed, one for the broker and one for the load"
    return None


def pinned(core, command):
    """The command, on that core only, with every thread it starts."""
    return ["taskset", "-c", str(core), *command]


def cpu_seconds(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    except OSError:
        return None


def memory(pid):
    """Resident, anonymous and peak resident memory in MB of 10^6 bytes."""
    try:
        with open(f"/proc/{pid}/status") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
    except OSError:
        return None
    read = lambda name: int(lines[name].split()[0]) * 1024 / MB
    return {"resident_mb": read("VmRSS"), "anonymous_mb": read("RssAnon"), "peak_mb": read("VmHWM")}


def busy_seconds():
    """Seconds all cores together were not idle, and seconds the hypervisor took."""
    with open("/proc/stat") as file:
        ticks = [int(field) for field in file.readline().split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = ticks[:8]
    return (user + nice + system + irq + softirq) / TICKS_PER_S, steal / TICKS_PER_S


class Bystanders:
    """What neither broker nor load used: with a neighbour on the cores a figure says little."""

    def __init__(self):
        self.start, self.busy = time.monotonic(), busy_seconds()

    def share(self, explained_cpu_s):
        """Cores' worth of time that others used since the beginning."""
        busy, steal = busy_seconds()
        others = busy - self.busy[0] - explained_cpu_s + steal - self.busy[1]
        return max(0.0, others / (time.monotonic() - self.start))


def drop_page_cache():
    """Empties the page cache; False when not allowed."""
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("3")
        return True
    except OSError:
        return False


def favour():
    """Has the scheduler prefer this run over the machine's other work; False when not allowed.

    With autogroups (the default of desktop kernels) niceness counts only inside a session, so the
    session as a whole is made nice as well. Brokers and loads inherit both.
    """
    try:
        if os.getsid(0) != os.getpid() and os.getpgrp() != os.getpid():
            os.setsid()
        os.setpriority(os.PRIO_PROCESS, 0, -19)
        if os.path.exists("/proc/self/autogroup"):
            with open("/proc/self/autogroup", "w") as file:
                file.write("-19")
        return True
    except OSError:
        return False


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fsync_latency(directory):
    """Median and p99 of write + fdatasync of 16 KiB, in ms: the disk under everything here."""
    path, took = os.path.join(directory, "fsync-probe"), []
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        for _ in range(300):
            start = time.perf_counter()
            os.write(file, bytes(16384))
            os.fdatasync(file)
            took.append((time.perf_counter() - start) * 1e3)
    finally:
        os.close(file)
        os.unlink(path)
    took.sort()
    return {"p50_ms": took[len(took) // 2], "p99_ms": took[int(len(took) * 0.99)]}


def describe(directory):
    """What a reader needs to know about the machine."""
    def first(command):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            return (done.stdout or done.stderr).splitlines()[0]
        except (OSError, IndexError):
            return None
    with open("/proc/cpuinfo") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    memory_kb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": memory_kb / 1e9,
        "kernel": platform.release(),
        "java": first(["java", "-version"]),
        "commit": first(["git", "rev-parse", "--short", "HEAD"]),
        "fsync_16k": fsync_latency(directory),
        "load_average": os.getloadavg(),
    }
