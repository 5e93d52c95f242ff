"""Ways out: results.tsv, CSV, JSON and the plot, all made from `node.history`."""
