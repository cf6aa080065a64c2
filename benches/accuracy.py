#!/usr/bin/env python3
"""Asks scikit-learn what benches/accuracy.rs asks the classifier, and `eigenflow cluster` the rows, on the same features.

usage: accuracy.py TRAINING TEST        needs deltalake, numpy, scikit-learn
"""
import sys
import time

import numpy as np
from deltalake import DeltaTable
from sklearn.cluster import KMeans
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score


def read(table):
    rows = DeltaTable(table).to_pyarrow_table(columns=["path", "label", "features", "reduced_features"])
    vectors = lambda name: np.array(rows[name].combine_chunks().flatten()).reshape(rows.num_rows, -1).astype(float)
    names = np.array([path.rsplit("/", 1)[1] for path in rows["path"].to_pylist()])
    return np.array(rows["label"].to_pylist()), names, vectors("features"), vectors("reduced_features")


def tell(split, labels, features, other_labels, others):
    known = np.isin(other_labels, labels)
    for shrinkage in (0.01, "auto"):
        start = time.time()
        analysis = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(features, labels)
        right = (analysis.predict(others[known]) == other_labels[known]).sum()
        print(f"{split}: {len(labels)} learnt, shrinkage {shrinkage}: {right} of {known.sum()} right, "
              f"{right / known.sum():.4f}; {time.time() - start:.1f} s", flush=True)


training, test = read(sys.argv[1]), read(sys.argv[2])
tell("Training, then Test", training[0], training[2], test[0], test[2])
labels, names, features = (np.concatenate(pair) for pair in list(zip(training, test))[:3])
upright = ~np.char.startswith(names, "r")
tell("one axis, then the others", labels[upright], features[upright], labels[~upright], features[~upright])
labels, features = labels[upright], features[upright]
number = np.array([int(name.split("_")[-2]) for name in names[upright]])
front = np.zeros(len(labels), bool)
for label in np.unique(labels):
    frames = np.flatnonzero(labels == label)
    front[frames[np.argsort(number[frames], kind="stable")][: (len(frames) + 1) // 2]] = True
tell("half a turn, then the other half", labels[front], features[front], labels[~front], features[~front])

for seed in range(5):
    start = time.time()
    means = KMeans(95, n_init=1, random_state=seed).fit(training[3])
    print(f"KMeans(95), seed {seed}: ARI {adjusted_rand_score(training[0], means.labels_):.4f}, "
          f"NMI {normalized_mutual_info_score(training[0], means.labels_):.4f}, "
          f"silhouette {silhouette_score(training[3], means.labels_):.4f}, inertia {means.inertia_:.0f}; {time.time() - start:.1f} s", flush=True)
