"""Random mutations of files, for `fuzz.py`: changed bits, bytes, lengths and numbers, and missing
or repeated chunks."""

import io
import random
import re
import zipfile
import zlib

import pyarrow.parquet as pq

NUMBERS = re.compile(rb"-?[0-9]+(\.[0-9]*)?")
EXTREMES = [b"nan", b"-1", b"0", b"1e400", b"-1e308", b"2147483648", b"", b"9" * 20, b"9" * 5000]
EXTREMES += [b"[" * 20_000]
LENGTHS = [0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """`data` with one to three random changes, half of them near the start or the end."""
    result = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(len(result) + 1)
        if rng.random() < 0.5:
            at = min(at, rng.randrange(300))
            at = at if rng.random() < 0.7 else len(result) - at
        chunk = rng.choice([1, 4, 16, rng.randrange(1, 2000)])
        match rng.choice(
            ["bit", "bit", "byte", "cut", "drop", "copy", "field", "number", "number"]
        ):
            case "bit" if at < len(result):
                result[at] ^= 1 << rng.randrange(8)
            case "byte":
                result[at : at + 1] = rng.randbytes(1)
            case "cut":
                del result[at:]
            case "drop":
                del result[at : at + chunk]
            case "copy":
                result[at:at] = result[at : at + chunk]
            case "field":
                size, order = rng.choice([1, 2, 4, 8]), rng.choice(["little", "big"])
                value = rng.choice(LENGTHS) % 256**size
                result[at : at + size] = value.to_bytes(size, order)
            case "number":
                if number := NUMBERS.search(result, at) or NUMBERS.search(result):
                    text = rng.choice([*EXTREMES, b"9" * len(number[0])])
                    result[number.start() : number.end()] = text
    return bytes(result)


def mutated_file(data: bytes, rng: random.Random) -> bytes:
    """`data` with random changes; in half of the cases, checksums are recomputed to match."""
    if rng.random() < 0.5:
        return mutated(data, rng)
    if data.startswith(b"PK"):
        return _mutated_zip(data, rng)
    if data.startswith(b"PAR1"):
        return _mutated_parquet(data, rng)
    changed = mutated(data, rng)
    return _with_png_checksums(changed) if data.startswith(b"\x89PNG") else changed


def _mutated_zip(data: bytes, rng: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    chosen = rng.choice(list(members))
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, mutated(content, rng) if name == chosen else content)
    return result.getvalue()


def _mutated_parquet(data: bytes, rng: random.Random) -> bytes:
    """A Parquet file with a change in tpifu's metadata or in one value."""
    table = pq.read_table(io.BytesIO(data))
    metadata = table.schema.metadata
    if rng.random() < 0.3:
        metadata = {b"tpifu": mutated(metadata[b"tpifu"], rng)}
    else:
        rows, column = table.to_pylist(), rng.choice(table.column_names)
        value = (row := rng.choice(rows))[column]
        if rng.random() < 0.1:
            row[column] = None
        elif isinstance(value, bytes):
            row[column] = mutated(value, rng)
        elif isinstance(value, int | float):
            row[column] = rng.choice([0, -1, 1, 5, 127])
        elif value:
            row[column] = value[: rng.randrange(len(value))]
        table = type(table).from_pylist(rows, schema=table.schema)
    result = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), result, write_page_checksum=True)
    return result.getvalue()


def _with_png_checksums(data: bytes) -> bytes:
    result, at = bytearray(data), 8
    while at + 12 <= len(result):
        end = at + 8 + int.from_bytes(result[at : at + 4])
        if end + 4 > len(result):
            break
        result[end : end + 4] = zlib.crc32(result[at + 4 : end]).to_bytes(4)
        at = end + 4
    return bytes(result)
