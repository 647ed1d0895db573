//! What comes from outside, changed by a fuzzer that sees what code its changes reach. `scripts/fuzz` builds and runs it;
//! built like any program it writes the examples a fuzzer begins from, and says what there is: `sync-fuzz DIRECTORY`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod fuzzed {
    use std::sync::LazyLock;

    use sync_fuzz::{FuzzTarget, TARGETS};

    /// The one that the environment names.
    static TARGET: LazyLock<FuzzTarget> = LazyLock::new(|| {
        let name = std::env::var("SYNC_FUZZ_TARGET").expect("SYNC_FUZZ_TARGET names a target");
        TARGETS.into_iter().find(|target| target.name == name).expect("there is such a target")
    });

    libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
        (TARGET.run)(bytes);
    });
}

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    let Some(directory) = std::env::args_os().nth(1).map(std::path::PathBuf::from) else {
        return Err(std::io::Error::other("usage: sync-fuzz DIRECTORY"));
    };
    for target in sync_fuzz::TARGETS {
        let place = directory.join(target.name);
        std::fs::create_dir_all(&place)?;
        for (number, example) in target.seeds().iter().enumerate() {
            std::fs::write(place.join(format!("example-{number}")), example)?;
        }
        println!("{}", target.name);
    }
    Ok(())
}
