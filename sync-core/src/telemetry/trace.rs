//! Trace context as W3C has it (`traceparent`), and the one that the work at hand is done for.

use std::fmt;

/// The transaction a piece of work is done for, as its emitter named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: [u8; 16],
    /// The span in it that emitted.
    pub span: [u8; 8],
    /// Whether it is recorded.
    pub is_sampled: bool,
}

/// The name of the header.
pub const HEADER: &str = "traceparent";

impl TraceContext {
    /// Reads a `traceparent` of version 00, or what it says of one of a later version; `None` of anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let [version, trace, span, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        let [version] = bytes::<1>(version)?;
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let (trace, span, [flags]) = (bytes(trace)?, bytes(span)?, bytes(flags)?);
        let is_one = trace != [0; 16] && span != [0; 8];
        is_one.then_some(Self { trace, span, is_sampled: flags & 1 == 1 })
    }
}

/// As the header has it.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, is_sampled } = self;
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            u128::from_be_bytes(*trace),
            u64::from_be_bytes(*span),
            u8::from(*is_sampled)
        )
    }
}

/// So many bytes in small hexadecimal digits.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut read = [0; N];
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in read.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(read)
}

tokio::task_local! {
    static WORK: TraceContext;
}

/// Does this for that trace, as far as it is done for one.
pub async fn within<T>(context: Option<TraceContext>, work: impl Future<Output = T>) -> T {
    match context {
        Some(context) => WORK.scope(context, work).await,
        None => work.await,
    }
}

/// What is done now is done for this trace.
#[must_use]
pub fn current() -> Option<TraceContext> {
    WORK.try_with(|context| *context).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_and_written_as_it_was() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::parse(text).unwrap();
        assert!(context.is_sampled && context.to_string() == text);
        assert!(!TraceContext::parse(&text.replace("-01", "-00")).unwrap().is_sampled);
        let later = format!("{}-more", text.replacen("00", "cc", 1));
        assert_eq!(TraceContext::parse(&later), Some(context), "a later version may say more");
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for wrong in [
            String::new(),
            "00-1-2-01".to_owned(),
            text.to_uppercase(),
            format!("{text}-more"),
            text.replacen("00", "ff", 1),
            text.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            text.replace("00f067aa0ba902b7", &"0".repeat(16)),
            text.replace("-01", ""),
            text.replace("4bf9", "4bé9"),
        ] {
            assert_eq!(TraceContext::parse(&wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn work_knows_the_trace_it_is_done_for() {
        let context = TraceContext { trace: [1; 16], span: [2; 8], is_sampled: true };
        assert_eq!(current(), None);
        assert_eq!(within(Some(context), async { current() }).await, Some(context));
        assert_eq!(within(None, async { current() }).await, None);
    }
}
