"""Holds the replayed calls of ksqlDB against docs/ksqldb.md and the answers recorded from Kafka 4.3."""

import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
ANSWERS = HERE / "ksqldb-answers.txt"
PAGE = HERE.parent.parent / "docs" / "ksqldb.md"


def parse(text):
    return dict(line.split(" = ", 1) for line in text.splitlines() if re.match(r"\d+\.\d+ .* = ", line))


def differences(got, want):
    names = sorted({*got, *want}, key=lambda name: [int(part) for part in name.split(" ")[0].split(".")])
    return [f"{name}\n    here:  {got.get(name, 'not asked')}\n    Kafka: {want.get(name, 'not recorded')}" for name in names if got.get(name) != want.get(name)]


def compare(text, record):
    got = parse(text)
    if record:
        ANSWERS.write_text("".join(f"{name} = {answer}\n" for name, answer in got.items()))
    want = parse(ANSWERS.read_text())
    listed = {row.split(" ")[1] for row in PAGE.read_text().splitlines() if re.match(r"\| \d+\.\d+ \|", row)}
    asked = {name.split(" ")[0] for name in got}
    if listed != asked:
        raise RuntimeError(f"docs/ksqldb.md and the replay differ: only listed {sorted(listed - asked)}, only asked {sorted(asked - listed)}")
    found = differences(got, want)
    if found:
        raise RuntimeError("answers that are not Kafka's:\n  " + "\n  ".join(found))
    one = next(iter(got))
    if len(differences({**got, one: "planted"}, want)) != 1 or len(differences({k: v for k, v in got.items() if k != one}, want)) != 1:
        raise RuntimeError("the comparison does not see a planted difference")
    print(f"  {len(got)} calls of docs/ksqldb.md answered as Kafka 4.3 answers them; a planted difference and a missing answer are found", flush=True)
