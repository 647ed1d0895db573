//! Changes to an example that make it something nobody expects.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// Pieces that readers have stumbled over.
const PIECES: [&[u8]; 20] = [
    b"\0",
    b"\n",
    b"\x1f",
    b"\xff\xfe",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"-1",
    b"0",
    b"1e999",
    b"18446744073709551616",
    b"null",
    b"true",
    "größe".as_bytes(),
    "\u{202e}\u{ffff}".as_bytes(),
    b"9999-12-31T23:59:60Z",
];

/// Longer ones teach nothing new.
const LONGEST: usize = 64 << 10;

/// One of the examples with some changes; the same for the same seed.
#[must_use]
pub fn mutated(examples: &[&str], seed: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut bytes = one_of(examples, &mut random).to_vec();
    for _ in 0..random.random_range(0..6) {
        change(&mut bytes, examples, &mut random);
        bytes.truncate(LONGEST);
    }
    bytes
}

fn one_of<'a>(examples: &[&'a str], random: &mut StdRng) -> &'a [u8] {
    examples.choose(random).map_or(b"", |example| example.as_bytes())
}

fn change(bytes: &mut Vec<u8>, examples: &[&str], random: &mut StdRng) {
    let begin = random.random_range(0..=bytes.len());
    let end = random.random_range(begin..=bytes.len().min(begin + 16));
    match random.random_range(0..6) {
        0 => drop(bytes.drain(begin..end)),
        1 => bytes.truncate(begin),
        2 => {
            let copied = bytes[begin..end].repeat(random.random_range(1..40));
            bytes.splice(begin..begin, copied);
        }
        3 => {
            let piece = PIECES.choose(random).copied().unwrap_or_default();
            bytes.splice(begin..end, piece.iter().copied());
        }
        4 => {
            let other = one_of(examples, random);
            let from = random.random_range(0..=other.len());
            bytes.splice(begin.., other[from..].iter().copied());
        }
        _ => {
            if let Some(byte) = bytes.get_mut(begin) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
    }
}
