"""Reads castaway's leak profiles with the standard library only: a second reader beside our own, so that an error in one
of them shows."""
import gzip
import pathlib
import re
from dataclasses import dataclass, field


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(data):
    """Field number and value (a number, or bytes) of each field of a protobuf message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            value, at = _varint(data, at)
        elif key & 7 == 2:
            length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
        else:
            raise ValueError(f"wire type {key & 7}")
        yield key >> 3, value


def _packed(value):
    if isinstance(value, int):
        return [value]
    numbers, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        numbers.append(number)
    return numbers


@dataclass
class Sample:
    """One sample of a leak profile; the field numbers are those of profile/profile.proto."""

    threads: int = 0
    retained: int = 0
    objects: int = 0
    bytes: int = 0
    functions: list = field(default_factory=list)  # leaf first
    labels: dict = field(default_factory=dict)


@dataclass
class Profile:
    path: pathlib.Path
    samples: list
    comments: list
    time_ns: int = 0  # of the wall clock, when all threads had been stopped

    def comment(self, key):
        return next((text[len(key) + 2 :] for text in self.comments if text.startswith(key + ": ")), "")

    def notes(self):
        return [text[len("note: ") :] for text in self.comments if text.startswith("note: ")]

    def total(self, what):
        return sum(getattr(sample, what) for sample in self.samples)

    def refuted(self):
        return sum(int(number) for number in re.findall(r"\d+", self.comment("refuted")))

    def pause_ms(self):
        return float((re.match(r"[\d.]+", self.comment("pause")) or ["0"])[0])


def read(path):
    strings, functions, locations, raw_samples, comments, time_ns = [], {}, {}, [], [], 0
    for number, value in _fields(gzip.decompress(path.read_bytes())):
        if number == 2:
            raw_samples.append(value)
        elif number == 4:
            location = dict(id=0, functions=[])
            for inner, content in _fields(value):
                if inner == 1:
                    location["id"] = content
                elif inner == 4:
                    location["functions"] += [line for key, line in _fields(content) if key == 1]
            locations[location["id"]] = location["functions"]
        elif number == 5:
            function = dict(_fields(value))
            functions[function.get(1, 0)] = function.get(2, 0)
        elif number == 6:
            strings.append(value.decode(errors="replace"))
        elif number == 9:
            time_ns = value
        elif number == 13:
            comments += _packed(value)
    samples = [_sample(raw, strings, functions, locations) for raw in raw_samples]
    return Profile(path, samples, [strings[index] for index in comments], time_ns)


def _sample(raw, strings, functions, locations):
    sample, values, ids = Sample(), [], []
    for number, value in _fields(raw):
        if number == 1:
            ids += _packed(value)
        elif number == 2:
            values += _packed(value)
        elif number == 3:
            label = dict(_fields(value))
            sample.labels[strings[label.get(1, 0)]] = strings[label[2]] if label.get(2) else label.get(3, 0)
    sample.threads, sample.retained, sample.objects, sample.bytes = values
    for each in ids:
        sample.functions += [strings[functions.get(index, 0)] for index in locations[each]] or ["?"]
    return sample


def processes(directory):
    """All leak profiles in a directory as {"comm.pid": [Profile, in order]}."""
    found = {}
    for path in pathlib.Path(directory).glob("*.leak.*.pb.gz"):
        parts = re.fullmatch(r"(.*\.\d+)\.leak\.(\d+)\.pb\.gz", path.name)
        if parts:
            found.setdefault(parts[1], []).append((int(parts[2]), path))
    return {name: [read(path) for _, path in sorted(paths)] for name, paths in sorted(found.items())}


def safepoint_times(directory):
    """[(begin, end)] of all safepoints that left a profile, of all processes, in ns of the wall clock: from the stop
    until the report was written."""
    found = []
    for profile in (each for several in processes(directory).values() for each in several):
        written = [profile.path, profile.path.with_name(profile.path.name.replace(".leak.", ".threads."))]
        end = max(path.stat().st_mtime_ns for path in written if path.exists())
        found.append((profile.time_ns - int(profile.pause_ms() * 1e6), end))
    return found
