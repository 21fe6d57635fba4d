"""Linear paths kept on disk, by the structure of the model that they were found in."""
