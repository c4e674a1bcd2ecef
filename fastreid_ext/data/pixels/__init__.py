"""Images between the file and the batch: decoding, resizing, transforms in bytes, memory of batches."""
