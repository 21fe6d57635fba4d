"""From images to fitted maps: `vitdecomp align`, in one process, in many, or on a cluster."""
