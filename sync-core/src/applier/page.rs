//! How much is loaded and sent at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::ApplierConfig;
use crate::port::Write;

/// How many keys to load at once, so that their documents take about as much memory as one request may.
#[derive(Debug)]
pub(super) struct Page(AtomicUsize);

/// Before anything is known of the documents' size.
const FIRST_PAGE: usize = 50;

impl Default for Page {
    fn default() -> Self {
        Self(AtomicUsize::new(FIRST_PAGE))
    }
}

impl Page {
    pub(super) fn keys(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// The index was full: less at a time may pass.
    pub(super) fn shrink(&self) {
        self.0.store((self.keys() / 2).max(1), Ordering::Relaxed);
    }

    /// `keys` documents took `bytes`. Grows at most to twice as many, because the next ones may be larger.
    pub(super) fn learn(&self, keys: usize, bytes: usize, config: &ApplierConfig) {
        let fitting = keys.saturating_mul(config.batch_bytes) / bytes.max(1);
        let next = fitting.min(self.keys().saturating_mul(2)).clamp(1, config.page_keys.max(1));
        self.0.store(next, Ordering::Relaxed);
    }
}

/// Requests of about `bytes` of documents each, in order, the first one last.
pub(super) fn split_by_size(writes: Vec<Write>, bytes: usize) -> Vec<Vec<Write>> {
    let mut requests: Vec<Vec<Write>> = Vec::new();
    let mut room = 0;
    for write in writes {
        let size = write.key.len() + write.document.as_ref().map_or(0, String::len);
        match requests.last_mut() {
            Some(request) if size <= room => request.push(write),
            _ => {
                requests.push(vec![write]);
                room = bytes;
            }
        }
        room = room.saturating_sub(size);
    }
    requests.reverse();
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::BreakerConfig;
    use crate::version::Version;

    #[test]
    fn large_documents_are_loaded_few_at_a_time_and_small_ones_many() {
        let config =
            ApplierConfig { page_keys: 1_000, batch_bytes: 1_000_000, in_flight: 4, breaker: BreakerConfig::default() };
        let page = Page::default();
        for expected in [100, 200, 400, 800, 1_000, 1_000] {
            page.learn(page.keys(), page.keys() * 100, &config);
            assert_eq!(page.keys(), expected);
        }
        page.learn(1_000, 4_000_000_000, &config);
        assert_eq!(page.keys(), 1, "a document larger than a request is loaded alone");
        page.learn(1, 0, &config);
        assert_eq!(page.keys(), 2, "deletes take nothing");
    }

    #[test]
    fn requests_are_cut_by_size_and_a_large_document_goes_alone() {
        let write = |key: &str, size: usize| Write {
            key: key.to_owned(),
            version: Version::default(),
            document: Some("x".repeat(size)),
        };
        let requests = split_by_size(vec![write("a", 40), write("b", 40), write("c", 500), write("d", 10)], 100);
        let keys: Vec<Vec<_>> =
            requests.iter().rev().map(|request| request.iter().map(|write| write.key.as_str()).collect()).collect();
        assert_eq!(keys, [vec!["a", "b"], vec!["c"], vec!["d"]]);
    }
}
