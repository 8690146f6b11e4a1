//! Tests of the window alone: what its owners cannot reach, such as numbers that wrap.
