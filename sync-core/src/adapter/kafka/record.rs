//! How many bytes a message is for a broker.

use crate::event::{Header, Outgoing};

/// What surrounds the records of one batch (record format 2).
const BATCH_HEADER: usize = 61;

/// The bytes of a batch that holds nothing but this message, before compression: what a broker compares with the
/// topic's `max.message.bytes` at worst. (Compression that does not help is left off by the client.)
pub(super) fn size_alone(message: &Outgoing) -> usize {
    let header = |(name, value): &Header| with_length(name.len()) + with_length(value.len());
    // Attributes, time difference and offset difference are one byte each in the first record.
    let body = 3
        + with_length(message.key.len())
        // One without a value has the length -1, in one byte.
        + message.value.as_ref().map_or(1, |value| with_length(value.len()))
        + varint(message.headers.len())
        + message.headers.iter().map(header).sum::<usize>();
    BATCH_HEADER + with_length(body)
}

fn with_length(bytes: usize) -> usize {
    varint(bytes) + bytes
}

/// Bytes of a length, written in groups of seven bits after one bit for the sign.
const fn varint(length: usize) -> usize {
    let bits = usize::BITS - length.leading_zeros() + 1;
    bits.div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_takes_a_byte_more_from_64_and_from_8192_on() {
        for (length, bytes) in [(0, 1), (63, 1), (64, 2), (8_191, 2), (8_192, 3), (1_048_575, 3), (1_048_576, 4)] {
            assert_eq!(varint(length), bytes, "{length}");
        }
    }

    #[test]
    fn a_small_record_is_counted_byte_by_byte() {
        let headers = vec![("id".into(), "7".into())];
        let message = Outgoing { topic: "t".into(), key: "job".into(), value: Some("12345".into()), headers };
        // 61 + length 1 + (3 + 1+3 + 1+5 + 1 + 1+2+1+1)
        assert_eq!(size_alone(&message), 61 + 1 + 19);
        assert_eq!(size_alone(&Outgoing { value: None, ..message }), 61 + 1 + 14);
    }
}
