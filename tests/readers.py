#!/usr/bin/env python3
"""Opens a table that eigenflow wrote with stock readers, and holds its projection against scikit-learn's, and Spark's.

usage: readers.py TABLE [ROWS [REFERENCE]]        needs deltalake, polars, numpy, scikit-learn
REFERENCE is a safetensors file with Spark's own reduction of the same images.
"""
import json
import sys

import numpy as np
import polars as pl
from deltalake import DeltaTable
from sklearn.decomposition import PCA

table, rows = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None
opened = DeltaTable(table)
# A column that was given another name says its own.
name = {field.metadata.get("eigenflow.column", field.name): field.name for field in opened.schema().fields}
by_delta = opened.to_pyarrow_table()
by_polars = pl.read_delta(table)
assert by_delta.num_rows == by_polars.height, "the readers disagree on the number of rows"
assert rows is None or by_polars.height == rows, f"{by_polars.height} rows, not {rows}"
assert by_polars[name["path"]].n_unique() == by_polars.height, "a path occurs twice"
assert by_polars[name["projection_version"]].n_unique() == 1, "the rows are not all under one projection"

features = np.array(by_polars[name["features"]].to_list(), dtype=np.float64)
reduced = np.array(by_polars[name["reduced_features"]].to_list(), dtype=np.float64)
assert np.array_equal(features, np.array(by_delta[name["features"]].to_pylist())), "the readers disagree on features"
std = features.std(0, ddof=1)
scaled = np.divide(features - features.mean(0), std, out=np.zeros_like(features), where=std > 0)
pca = PCA(reduced.shape[1], svd_solver="full").fit(scaled)
expected = pca.transform(scaled)
# Beyond sign, a component is only as well determined as its eigenvalue is apart from its neighbours'.
values = pca.explained_variance_
gaps = np.minimum(np.abs(np.diff(values, prepend=np.inf)), np.abs(np.diff(values, append=0)))
apart = gaps > 1e-4 * values[0]

def difference(expected):
    """The largest of the components that can be compared, but for their signs."""
    sign = np.sign((expected * reduced).sum(0))
    return np.abs(expected * sign - reduced)[:, apart].max()

error = difference(expected)
print(f"deltalake and polars: {by_polars.height} rows; {apart.sum()} of {len(apart)} components compared with "
      f"scikit-learn's: largest difference of reduced features {error:.1e}, of {np.abs(expected).max():.0f} at most")
# Features that hardly vary (the white borders of pictures) carry the grid's rounding; so relative to the largest value.
assert apart.sum() >= len(apart) // 2 and error < 1e-5 * np.abs(expected).max()
if "scaled_features" in name:
    shown = np.array(by_polars[name["scaled_features"]].to_list(), dtype=np.float64)
    error = np.abs(shown - scaled).max()
    print(f"  {name['scaled_features']}: largest difference {error:.1e}, of {np.abs(scaled).max():.0f} at most")
    # The grid's rounding, over the deviation of a feature that hardly varies.
    assert error < 1e-4 * np.abs(scaled).max()
if len(sys.argv) > 3:
    data = open(sys.argv[3], "rb").read()
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    start, end = header["spark.reduced"]["data_offsets"]
    spark = np.frombuffer(data[begin + start : begin + end], "<f8").reshape(header["spark.reduced"]["shape"])
    rows_of = {path: row for row, path in enumerate(json.loads(header["__metadata__"]["paths"]))}
    assert len(rows_of) == len(reduced), "not the images that Spark reduced"
    spark = spark[[rows_of[path.removeprefix("s3://landing/")] for path in by_polars[name["path"]]]]
    error = difference(spark)
    print(f"  Spark's own StandardScaler and PCA of the same images: largest difference {error:.1e}, of {np.abs(spark).max():.0f} at most")
    # Spark's features are PyTorch's.
    assert error < 1e-4 * np.abs(spark).max()
