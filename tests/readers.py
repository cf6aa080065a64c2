#!/usr/bin/env python3
"""Opens a table that eigenflow wrote with stock readers, and holds its projection against scikit-learn's.

usage: readers.py TABLE [ROWS]        needs deltalake, polars, numpy, scikit-learn
"""
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
sign = np.sign((expected * reduced).sum(0))
error = np.abs(expected * sign - reduced)[:, apart].max()
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
