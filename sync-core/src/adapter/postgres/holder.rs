//! Who this process is, where it takes what one process at a time may have.

use std::sync::OnceLock;

/// The machine and the process, for people to read, and a part drawn at random, because both may come again: different for every
/// process, the same for the life of one.
#[must_use]
pub fn this_process() -> String {
    static HOLDER: OnceLock<String> = OnceLock::new();
    HOLDER
        .get_or_init(|| {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            let host = if host.trim().is_empty() { "unnamed" } else { host.trim() };
            format!("{host}/{}/{:08x}", std::process::id(), rand::random::<u32>())
        })
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_keeps_its_name_and_people_can_tell_which_it_is() {
        let holder = this_process();
        assert_eq!(holder, this_process());
        assert!(holder.contains(&format!("/{}/", std::process::id())), "{holder}");
    }
}
