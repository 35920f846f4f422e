//! The corpus of `tests/golden/wire` is complete. `tests/it/wire_corpus.rs` sends it to a daemon.

use std::collections::BTreeSet;

use super::super::fault::Fault;
use super::cases::{WireCase, WireStep, wire_cases};

const CASES_MIN: usize = 300;
const RFCS: [&str; 5] = ["3986", "6585", "9110", "9112", "9113"];

/// All bytes that the client sends.
pub(super) fn sent(case: &WireCase) -> Vec<u8> {
    let sent = case.steps.iter().filter_map(|step| match step {
        WireStep::Send(bytes) => Some(bytes.as_slice()),
        WireStep::End | WireStep::Want(_) => None,
    });
    sent.collect::<Vec<_>>().concat()
}

#[test]
fn the_corpus_has_a_case_for_each_rule() {
    let cases = wire_cases();
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    let (mut names, mut used) = (BTreeSet::new(), BTreeSet::new());
    for case in &cases {
        let (name, rule) = (&case.name, &case.rule);
        assert!(names.insert(name), "twice: {name}");
        assert!(!sent(case).is_empty(), "{name} sends nothing");
        let (rfc, section) = rule.split_once(' ').unwrap_or_default();
        let numbers = section.split('.').all(|part| part.parse::<u8>().is_ok());
        assert!(RFCS.contains(&rfc) && numbers, "{name}: {rule:?}");
        assert!(case.open || !case.early, "{name} is closed at any rate");
        used.extend(case.wanted().filter_map(|answer| answer.fault.as_deref()));
    }
    let rules = Fault::ALL.iter().filter(|fault| {
        let http2_only = matches!(fault, Fault::HostDiffers | Fault::LengthDiffers);
        let tls_only = **fault == Fault::ClearText;
        !http2_only && !tls_only && !fault.label().starts_with("http2_")
    });
    let rules: BTreeSet<_> = rules.map(|fault| fault.label()).collect();
    assert_eq!(used, rules, "the labels of the corpus and the rules");
}
