"""CMU motion capture on the embedded body: Acclaim files, retargeting, the tree."""
