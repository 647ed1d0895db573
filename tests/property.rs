//! Random interleavings against an oracle.

mod model;
mod outbox;
mod outside;
