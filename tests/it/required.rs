//! Tests that need what not every machine has.

/// Says why a test does not run here. It fails where every test has to run, which is so in `.ci/run`.
#[track_caller]
pub(crate) fn skip(why: &str) {
    let required = std::env::var("OPS_TESTS").is_ok_and(|value| value == "require");
    assert!(!required, "{why}, and OPS_TESTS=require");
    println!("SKIP because {why}");
}
