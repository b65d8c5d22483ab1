//! A Redis or Valkey data directory: which files are one consistent dataset, and how each is read.
