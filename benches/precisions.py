#!/usr/bin/env python3
"""What a precision costs a classifier: discriminant analysis on the features of two tables of the same images.

usage: precisions.py TABLE OTHER        needs deltalake, numpy, scikit-learn

TABLE is in f32, OTHER in bf16 or int8. Each half of the images, every other one in the order of their keys, is named by what the
other half has taught (shrinkage 0.01, as the job's own classifier has it). Ends with 1 if OTHER is more than 0.2 points worse.
"""
import sys

import numpy as np
from deltalake import DeltaTable
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis


def read(table):
    opened = DeltaTable(table)
    # A column that was given another name says its own.
    name = {field.metadata.get("eigenflow.column", field.name): field.name for field in opened.schema().fields}
    rows = opened.to_pyarrow_table(columns=[name[column] for column in ("path", "label", "features")])
    path, label, features = (rows[name[column]] for column in ("path", "label", "features"))
    order = np.argsort(path.to_pylist())
    flat = features.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return (np.array(path.to_pylist())[order], np.array(label.to_pylist())[order],
            flat.reshape(rows.num_rows, -1)[order].astype(np.float64))


def right(features, label):
    """How many of both halves are named right."""
    halves = [slice(0, None, 2), slice(1, None, 2)]
    found = 0
    for learn, test in (halves, halves[::-1]):
        lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.01).fit(features[learn], label[learn])
        found += int((lda.predict(features[test]) == label[test]).sum())
    return found


paths, labels, exact = read(sys.argv[1])
other_paths, other_labels, rounded = read(sys.argv[2])
# The bucket is another's in each demo.
keys = lambda paths: [path.split("/", 3)[-1] for path in paths]
assert keys(paths) == keys(other_paths) and (labels == other_labels).all(), "the tables are not of the same images"
cosine = (exact * rounded).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rounded, axis=1)
found = [right(features, labels) for features in (exact, rounded)]
points = 100 * (found[0] - found[1]) / len(labels)
print(f"{len(labels)} images of {len(set(labels))} labels: {found[0]} and {found[1]} named right "
      f"({100 * found[0] / len(labels):.2f} and {100 * found[1] / len(labels):.2f} %), OTHER {-points:+.2f} points; "
      f"cosine {cosine.min():.4f} at least, {cosine.mean():.4f} in the mean")
sys.exit(points > 0.2)
