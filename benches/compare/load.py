"""The loads: chronik-bench and Kafka's own perf tools, pinned to the load's core.

Each load returns a flat dict of figures. It is void when the load used more than 80 % of its core
(then the load may be what was measured) and noisy when others used more than a tenth of one.
"""

import glob
import json
import os
import re
import resource
import subprocess
import time

import host

LOAD_SHARE_MAX = 0.8
OTHERS_SHARE_MAX = 0.1
TIMEOUT_S = 600


def children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(broker, command):
    """Runs a load and returns its output with what it, the broker and others used."""
    bystanders, own, theirs = host.Bystanders(), children_cpu(), host.cpu_seconds(broker.pid)
    began = time.monotonic()
    done = subprocess.run(host.pinned(host.LOAD_CORE, command), capture_output=True, text=True,
                          timeout=TIMEOUT_S, check=False)
    took, load_s = time.monotonic() - began, children_cpu() - own
    broker_s = (host.cpu_seconds(broker.pid) or 0) - (theirs or 0)
    figures = {"others_cores": bystanders.share(load_s + broker_s), "load_core_share": load_s / took,
               "broker_cpu_s": broker_s}
    if done.returncode != 0:
        error = (done.stderr or done.stdout).strip().splitlines()
        figures["error"] = error[-1] if error else f"exit code {done.returncode}"
    return done.stdout, figures


def judge(figures):
    """Adds whether the figures may be used."""
    figures["void"] = "error" in figures or figures["load_core_share"] > LOAD_SHARE_MAX
    figures["noisy"] = figures["others_cores"] > OTHERS_SHARE_MAX
    return figures


class Bench:
    """chronik-bench."""

    def __init__(self, binary):
        self.binary = binary

    def run(self, broker, what, /, **options):
        command = [self.binary, what, "--bootstrap", broker.bootstrap, "--broker-pid", str(broker.pid),
                   "--json", "--quiet"]
        for name, value in options.items():
            if value is False:
                continue
            flag = "--" + name.replace("_", "-")
            command += [flag] if value is True else [flag, str(value)]
        out, figures = measure(broker, command)
        lines = out.strip().splitlines()
        if lines:
            report = json.loads(lines[-1])
            latency = report.get("latency_ms") or {}
            figures |= {key: report[key] for key in (
                "mb_per_s", "messages_per_s", "broker_cpu_s_per_gb", "errors", "elapsed_s", "messages")}
            figures |= {f"{name}_ms": value for name, value in latency.items()}
            # Inside its measured window, which the warm-up and the set-up are not part of.
            figures["load_core_share"] = report["own_core_share"]
            if report.get("first_error"):
                figures["error"] = report["first_error"]
        return judge(figures)


class KafkaTools:
    """kafka-producer-perf-test and kafka-consumer-perf-test by their main classes."""

    def __init__(self):
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        self.jars = os.environ.get("KAFKA_JARS") or os.path.join(cache, "chronik", "kafka-4.3.0")

    def exists(self):
        return bool(glob.glob(os.path.join(self.jars, "kafka-tools-*.jar")))

    def java(self, main, arguments):
        # The tools' script gives them 512 MB.
        return ["java", "-Xmx512M", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
                "-cp", os.path.join(self.jars, "*"), main, *arguments]

    def produce(self, broker, topic, messages, size, acks):
        out, figures = measure(broker, self.java("org.apache.kafka.tools.ProducerPerformance", [
            "--bootstrap-server", broker.bootstrap, "--topic", topic, "--num-records", str(messages),
            "--record-size", str(size), "--throughput", "-1", "--command-property", f"acks={acks}"]))
        # The last line sums up: "N records sent, R records/sec (M MB/sec), … ms 50th, …"; its MB are 2^20.
        found = re.findall(r"([\d.]+) records/sec \(([\d.]+) MB/sec\)", out)
        if found:
            rate = float(found[-1][0])
            figures |= {"messages_per_s": rate, "mb_per_s": rate * size / 1e6,
                        "broker_cpu_s_per_gb": figures["broker_cpu_s"] / (messages * size / 1e9)}
        return judge(figures)

    def consume(self, broker, topic, messages, size):
        out, figures = measure(broker, self.java("org.apache.kafka.tools.ConsumerPerformance", [
            "--bootstrap-server", broker.bootstrap, "--topic", topic, "--num-records", str(messages),
            "--timeout", "30000"]))
        # start, end, MB, MB/s, records, records/s, rebalance ms, fetch ms, fetch MB/s, fetch records/s
        rows = [line.split(",") for line in out.splitlines() if line.count(",") >= 9 and line[0].isdigit()]
        if rows:
            rate = float(rows[-1][9])
            figures |= {"messages_per_s": rate, "mb_per_s": rate * size / 1e6,
                        "broker_cpu_s_per_gb": figures["broker_cpu_s"] / (float(rows[-1][4]) * size / 1e9)}
        return judge(figures)
