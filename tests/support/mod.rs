//! What several tests share.

pub mod dedup_model;
