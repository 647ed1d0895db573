//! Which partition a key belongs to: the same as with Java's clients, whichever bus carries it.

/// The partition of `key` among `partitions`, as Kafka's Java client computes it (`murmur2`, sign bit off, remainder).
/// Fewer than one partition counts as one.
#[must_use]
pub fn partition_for(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & i32::MAX) % partitions.max(1)
}

/// Kafka's murmur2: 32 bits, little-endian, with a seed of its own; signed, as Java has no other numbers.
fn murmur2(data: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    // A key is far shorter than 4 GiB; a longer one would still get one hash everywhere.
    #[allow(clippy::cast_possible_truncation, reason = "Java takes the length as 32 bits too")]
    let mut hash = SEED ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    (hash ^ (hash >> 15)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_of_kafkas_own_tests() {
        let known = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn a_negative_hash_still_names_a_partition() {
        for key in ["21", "foobar", "", "größe"] {
            for partitions in [1, 2, 7, 50] {
                assert!((0..partitions).contains(&partition_for(key.as_bytes(), partitions)), "{key} of {partitions}");
            }
        }
        assert_eq!(partition_for(b"foobar", 10), 6);
        assert_eq!(partition_for(b"foobar", 0), 0);
    }
}
