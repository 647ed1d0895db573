//! Random interleavings against an oracle.

mod outbox;
