"""What every room may use, and no user meets: records of JSON, checksums, files of tensors."""
