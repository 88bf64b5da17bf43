"""Parquet files in the Hugging Face layout: lazily, several at once, broken rows listed."""

from __future__ import annotations

import json
import time
import tracemalloc
from hashlib import sha256
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handful.errors import PoolError
from handful.pool import open_data, verify
from handful.pool.parquet import image_column, open_parquet
from handful.types import Pool


def png(value: int, shape: tuple[int, ...] = (9, 11)) -> bytes:
    out = BytesIO()
    Image.fromarray(np.full(shape, value, dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def write(path, blobs, *, group=4, names=None, **columns):
    image = pa.array([{"bytes": blob, "path": None} for blob in blobs],
                     pa.struct([("bytes", pa.binary()), ("path", pa.string())]))  # fmt: skip
    table = pa.table({"image": image, **columns})
    features = {"image": {"_type": "Image"}}
    for column, values in (names or {}).items():
        features[column] = {"_type": "ClassLabel", "names": values}
    meta = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(meta), path, row_group_size=group)


def test_one_file_with_labels_and_split(tmp_path):
    path = tmp_path / "birds.parquet"
    write(
        path,
        [png(i) for i in range(10)],
        names={"label": ["owl", "tit"], "split": ["train", "test"]},
        label=pa.array([0, 1, None, 0, 1, 0, 1, 0, 1, -1]),
        split=pa.array([0] * 7 + [1] * 3),
    )
    data = open_parquet([path])
    assert isinstance(data.pool, Pool)
    assert (data.name, data.classes) == ("birds", ("owl", "tit"))
    assert data.labels.tolist() == [0, 1, -1, 0, 1, 0, 1, 0, 1, -1]
    assert data.split.tolist() == [0] * 7 + [1] * 3
    assert data.pool.ids[9] == "birds.parquet#00000009"
    assert data.pool.row("birds.parquet#00000009") == 9
    assert (data.pool.channels, data.pool.size) == (1, (9, 11))
    assert data.pool.read(np.arange(10))[:, 0, 0, 0].tolist() == list(range(10))
    assert data.pool.digest(7) == sha256(png(7)).hexdigest()
    assert data.found.formats == {"PNG": 10}
    assert data.found.classes == {"owl": 4, "tit": 4}
    assert data.found.split == {"train": 7, "test": 3}
    assert verify(data.pool) == {}


def test_several_files_come_sorted_by_name(tmp_path):
    for name, values in (("b", [3, 4]), ("a", [0, 1, 2]), ("a!", [9])):
        write(tmp_path / f"{name}.parquet", [png(v) for v in values], label=["x"] * len(values))
    data = open_data(str(tmp_path))
    ids = list(data.pool.ids)
    assert ids == sorted(ids)
    assert len(ids) == 6
    got = dict(zip(ids, data.pool.read(np.arange(6))[:, 0, 0, 0].tolist(), strict=True))
    assert got["a.parquet#00000002"] == 2
    assert got["b.parquet#00000000"] == 3
    assert data.classes == ("x",)
    assert data.found.where == f"3 files in {tmp_path}"
    nested = tmp_path / "more"
    nested.mkdir()
    write(nested / "a.parquet", [png(77)], label=["x"])
    both = open_data(f"{tmp_path}/a.parquet,{nested}/a.parquet")
    assert list(both.pool.ids)[-2:] == ["a.parquet#00000002", "more/a.parquet#00000000"]
    assert open_data(f"{tmp_path}/*.parquet").pool.ids[5] == ids[5]


def test_file_names_may_say_the_split(tmp_path):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train-00000-of-00001.parquet", [png(1), png(2)])
    write(tmp_path / "data" / "test-00000-of-00001.parquet", [png(3)])
    data = open_data(str(tmp_path))
    assert data.split.tolist() == [1, 0, 0]
    assert data.labels is None
    only = open_data(str(tmp_path / "data" / "train-00000-of-00001.parquet"))
    assert only.split is None


def test_names_of_a_split_and_labels_as_text(tmp_path):
    write(
        tmp_path / "t.parquet",
        [png(i) for i in range(3)],
        label=["b", "a", "b"],
        split=["train", "validation", "test"],
    )
    data = open_parquet([tmp_path / "t.parquet"])
    assert data.classes == ("a", "b")
    assert data.labels.tolist() == [1, 0, 1]
    assert data.split.tolist() == [0, 0, 1]


def test_a_label_column_is_found_by_its_metadata(tmp_path):
    write(
        tmp_path / "t.parquet",
        [png(1), png(2)],
        names={"species": ["u", "v"]},
        species=pa.array([1, 0]),
    )
    assert open_parquet([tmp_path / "t.parquet"]).labels.tolist() == [1, 0]


def test_plain_binary_columns_and_no_metadata(tmp_path):
    table = pa.table({"img": pa.array([png(5), None]), "label": pa.array([3, 3])})
    pq.write_table(table, tmp_path / "p.parquet")
    data = open_parquet([tmp_path / "p.parquet"])
    assert data.classes == ("3",)
    assert len(data.pool) == 1
    assert data.found.broken == {"p.parquet#00000001": "the row holds no image bytes"}
    assert (data.pool.read([0]) == 5).all()


def test_broken_rows_are_listed_and_excluded(tmp_path):
    blobs = [png(0), b"text", png(2), None, b"", png(5), png(5)]
    write(tmp_path / "b.parquet", blobs, group=3, label=pa.array(range(7)))
    data = open_parquet([tmp_path / "b.parquet"])
    assert sorted(data.found.broken) == [f"b.parquet#0000000{i}" for i in (1, 3, 4)]
    assert data.found.images == len(data.pool) == 4
    assert data.labels.tolist() == [0, 2, 5, 6]
    assert data.found.duplicates == (("b.parquet#00000005", "b.parquet#00000006"),)
    assert data.pool.read(np.arange(4))[:, 0, 0, 0].tolist() == [0, 2, 5, 5]


def test_of_a_large_file_a_sample_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr("handful.pool.parquet._LOOK_AT_ALL", 50)
    monkeypatch.setattr("handful.pool.parquet._SAMPLE", 20)
    monkeypatch.setattr("handful.pool.parquet._SAMPLE_GROUPS", 4)
    monkeypatch.setattr("handful.pool.parquet._GROUPS_BYTES", 2000)
    blobs = [png(i % 250) for i in range(100)]
    blobs[3] = b"text"
    write(tmp_path / "s.parquet", blobs, group=10)
    data = open_parquet([tmp_path / "s.parquet"])
    assert len(data.pool) == 100
    assert data.found.repeats is None
    assert any("sample of 20" in note for note in data.found.notes)
    assert list(verify(data.pool)) == [3]
    got = data.pool.read(np.arange(100))[:, 0, 0, 0]
    assert (np.delete(got, 3) == np.delete(np.arange(100), 3)).all()
    every = open_parquet([tmp_path / "s.parquet"], thorough=True)
    assert len(every.pool) == 99


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 24), max_size=30))
def test_reading_some_rows_of_parquet_equals_rows_of_all(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "random.parquet"
    if not path.exists():
        write(path, [png(10 * i) for i in range(25)], group=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("handful.pool.encoded.CACHE_BYTES", 0)
        pool = open_parquet([path]).pool
        got = pool.read(np.array(rows, dtype=int))[:, 0, 0, 0]
        assert got.tolist() == [10 * i for i in rows]


def test_files_that_cannot_be_used_say_why(tmp_path):
    pq.write_table(pa.table({"x": [1, 2], "label": [0, 1]}), tmp_path / "n.parquet")
    with pytest.raises(PoolError, match=r"n.parquet has no column of images \(columns: x, label\)"):
        open_parquet([tmp_path / "n.parquet"])
    (tmp_path / "t.parquet").write_text("hello")
    with pytest.raises(PoolError, match="is no parquet file that can be read"):
        open_parquet([tmp_path / "t.parquet"])
    write(tmp_path / "e.parquet", [])
    with pytest.raises(PoolError, match="no row"):
        open_parquet([tmp_path / "e.parquet"])
    write(tmp_path / "a.parquet", [b"text", b"more text"])
    with pytest.raises(PoolError, match=r"of 2 images in .* none can be read, e.g. row 0: the con"):
        open_parquet([tmp_path / "a.parquet"])
    with pytest.raises(PoolError, match="has other columns than"):
        open_parquet([tmp_path / "a.parquet", tmp_path / "n.parquet"])
    with pytest.raises(PoolError, match="no parquet file was given"):
        open_parquet([])
    assert image_column(tmp_path / "a.parquet") == "image"
    assert image_column(tmp_path / "n.parquet") is None
    assert image_column(tmp_path / "t.parquet") is None


def test_a_damaged_row_group_breaks_its_rows_only(tmp_path):
    noise = np.random.default_rng(0)
    blobs = []
    for _ in range(8):
        out = BytesIO()
        Image.fromarray(noise.integers(0, 256, (16, 16), dtype=np.uint8)).save(out, "PNG")
        blobs.append(out.getvalue())
    path = tmp_path / "d.parquet"
    write(path, blobs, group=4)
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    at = column.dictionary_page_offset or column.data_page_offset
    content[at : at + 40] = b"\xff" * 40
    path.write_bytes(content)
    data = open_parquet([path])
    assert len(data.pool) == 4
    assert len(data.found.broken) == 4


def test_five_million_rows_of_parquet(tmp_path):
    n, group = 5_000_000, 250_000
    path = tmp_path / "large.parquet"
    kinds = pa.array([{"bytes": png(i)} for i in range(4)])
    block = pa.table({
        "image": kinds.take(pa.array(np.arange(group) % 4)),
        "label": pa.array(np.arange(group) % 10),
    })  # fmt: skip
    with pq.ParquetWriter(path, block.schema, compression="zstd") as file:
        for _ in range(n // group):
            file.write_table(block, row_group_size=group)
    tracemalloc.start()
    start = time.perf_counter()
    data = open_parquet([path])
    assert len(data.pool) == n
    assert data.pool.ids[n - 1] == "large.parquet#04999999"
    assert data.pool.row("large.parquet#04999999") == n - 1
    assert data.pool.read([n - 1])[0, 0, 0, 0] == 3
    seconds = time.perf_counter() - start
    blocks = sum(s.count for s in tracemalloc.take_snapshot().statistics("filename"))
    tracemalloc.stop()
    assert blocks < 200_000
    assert seconds < 60
