//! Workspaces on a real engine: whatever fails when they are created and deleted, they are there or nothing is left of them.

mod matrix;
mod random;
mod struck;
