//! Keys that nobody asked for, each with the known one that was probably meant.

use std::collections::BTreeSet;

use strsim::damerau_levenshtein;

use super::layers::Layers;
use super::problem::Problem;

/// One problem for each unknown key, and one for each unknown section instead of one for each key in it.
pub(super) fn problems(left: &Layers, known: &BTreeSet<String>) -> Vec<Problem> {
    let sections: BTreeSet<&str> = known.iter().map(|key| section_of(key)).chain(["indexes"]).collect();
    let mut told = BTreeSet::new();
    let mut problems = Vec::new();
    let mut left: Vec<_> = left.iter().collect();
    left.sort_by_key(|(_, given)| &given.origin);
    for (key, given) in left {
        let section = section_of(key);
        let is_section = known.range(format!("{key}.")..).next().is_some_and(|next| is_below(next, key));
        let message = if is_section {
            format!("`{key}` is a section ({}): write `[{key}]` and its keys below", given.origin)
        } else if sections.contains(section) {
            let advice = near_key(key, known);
            format!("unknown key `{key}` ({}); {advice}", given.origin)
        } else if told.insert(section) {
            let advice = nearest(section, sections.iter().copied())
                .map_or_else(|| format!("the sections are {}", listed(&sections)), meant);
            format!("unknown section `{section}` ({}); {advice}", given.origin)
        } else {
            continue;
        };
        problems.push(Problem { key: key.clone(), origin: Some(given.origin.to_string()), message });
    }
    problems
}

fn is_below(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

fn section_of(key: &str) -> &str {
    key.split_once('.').map_or(key, |(section, _)| section)
}

fn near_key(key: &str, known: &BTreeSet<String>) -> String {
    if let Some(near) = nearest(key, known.iter().map(String::as_str)) {
        return meant(near);
    }
    let folder = key.rsplit_once('.').map_or("", |(folder, _)| folder);
    let siblings: BTreeSet<&str> =
        known.iter().filter_map(|known| known.strip_prefix(folder)?.strip_prefix('.')).collect();
    if siblings.is_empty() {
        "nothing like it is known".to_owned()
    } else {
        format!("`{folder}` has {}", listed(&siblings))
    }
}

fn meant(near: &str) -> String {
    format!("did you mean `{near}`?")
}

fn listed(names: &BTreeSet<&str>) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The candidate that is nearest, if it is near enough to be what was meant. What is compared is the last part of the
/// key where the rest is the same, so that a long section does not make different keys look alike.
fn nearest<'a>(wanted: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |key: &str| key.rsplit('.').next().map_or(0, str::len);
    candidates
        .map(|candidate| (damerau_levenshtein(wanted, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + last(candidate).min(last(wanted)) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::layers::Sources;

    fn told(file: &str, variables: &[(&str, &str)]) -> Vec<String> {
        let known = ["postgres.url", "postgres.pool_size", "kafka.sasl.username", "kafka.brokers"];
        let known = known.iter().map(|key| (*key).to_owned()).collect();
        let sources = Sources {
            file: Some(("sync.toml".into(), file.to_owned())),
            variables: variables.iter().map(|(n, v)| (OsString::from(n), OsString::from(v))).collect(),
            flags: Vec::new(),
        };
        problems(&sources.lay().0, &known).into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn a_misspelt_key_is_answered_with_the_one_that_was_meant() {
        assert_eq!(
            told("[postgres]\npol_size = 1\n", &[("SYNC__KAFKA__SASL__USERNAM", "me")]),
            [
                "unknown key `postgres.pol_size` (sync.toml line 2); did you mean `postgres.pool_size`?",
                "unknown key `kafka.sasl.usernam` (environment variable SYNC__KAFKA__SASL__USERNAM); \
                 did you mean `kafka.sasl.username`?",
            ]
        );
    }

    #[test]
    fn a_key_like_no_other_is_answered_with_all_there_are() {
        assert_eq!(
            told("[postgres]\nhostname = 1\n", &[]),
            ["unknown key `postgres.hostname` (sync.toml line 2); `postgres` has `pool_size`, `url`"]
        );
    }

    #[test]
    fn an_unknown_section_is_told_once() {
        assert_eq!(
            told("[postgre]\nurl = 1\npool_size = 1\n", &[]),
            ["unknown section `postgre` (sync.toml line 2); did you mean `postgres`?"]
        );
    }

    #[test]
    fn a_value_where_a_section_belongs_is_refused() {
        assert_eq!(
            told("postgres = 1\n", &[]),
            ["`postgres` is a section (sync.toml line 1): write `[postgres]` and its keys below"]
        );
    }
}
