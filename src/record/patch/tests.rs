//! Patches: the examples of the RFC, and what is refused.

use super::*;

/// The bytes that a patch may copy in these tests.
const BYTES_MAX: usize = 1 << 20;

fn object(text: &str) -> JsonObject {
    JsonObject::parse(text.as_bytes()).unwrap()
}

/// A record, a patch, and the record after it.
const DONE: &[(&str, &str, &str)] = &[
    (
        r#"{"foo":"bar"}"#,
        r#"[{"op":"add","path":"/baz","value":"qux"}]"#,
        r#"{"foo":"bar","baz":"qux"}"#,
    ),
    (
        r#"{"foo":["bar","baz"]}"#,
        r#"[{"op":"add","path":"/foo/1","value":"qux"}]"#,
        r#"{"foo":["bar","qux","baz"]}"#,
    ),
    (
        r#"{"baz":"qux","foo":"bar"}"#,
        r#"[{"op":"remove","path":"/baz"}]"#,
        r#"{"foo":"bar"}"#,
    ),
    (
        r#"{"foo":["bar","qux","baz"]}"#,
        r#"[{"op":"remove","path":"/foo/1"}]"#,
        r#"{"foo":["bar","baz"]}"#,
    ),
    (
        r#"{"baz":"qux","foo":"bar"}"#,
        r#"[{"op":"replace","path":"/baz","value":"boo"}]"#,
        r#"{"baz":"boo","foo":"bar"}"#,
    ),
    (
        r#"{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}"#,
        r#"[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]"#,
        r#"{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}"#,
    ),
    (
        r#"{"foo":["all","grass","cows","eat"]}"#,
        r#"[{"op":"move","from":"/foo/1","path":"/foo/3"}]"#,
        r#"{"foo":["all","cows","eat","grass"]}"#,
    ),
    (
        r#"{"baz":"qux","foo":["a",2,"c"]}"#,
        r#"[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}]"#,
        r#"{"baz":"qux","foo":["a",2,"c"]}"#,
    ),
    (
        r#"{"foo":"bar"}"#,
        r#"[{"op":"add","path":"/child","value":{"grandchild":{}}}]"#,
        r#"{"foo":"bar","child":{"grandchild":{}}}"#,
    ),
    (
        r#"{"foo":"bar"}"#,
        r#"[{"op":"add","path":"/baz","value":"qux","xyz":123}]"#,
        r#"{"foo":"bar","baz":"qux"}"#,
    ),
    (
        r#"{"/":9,"~1":10}"#,
        r#"[{"op":"test","path":"/~01","value":10},{"op":"remove","path":"/~1"}]"#,
        r#"{"~1":10}"#,
    ),
    (
        r#"{"foo":["bar"]}"#,
        r#"[{"op":"add","path":"/foo/-","value":["abc","def"]}]"#,
        r#"{"foo":["bar",["abc","def"]]}"#,
    ),
    (
        r#"{"a":1}"#,
        r#"[{"op":"copy","from":"/a","path":"/b"}]"#,
        r#"{"a":1,"b":1}"#,
    ),
    (
        r#"{"a":1}"#,
        r#"[{"op":"add","path":"","value":{"b":2}}]"#,
        r#"{"b":2}"#,
    ),
    (
        r#"{"a":1}"#,
        r#"[{"op":"test","path":"/a","value":1.0},{"op":"test","path":"","value":{"a":1e0}}]"#,
        r#"{"a":1}"#,
    ),
    (
        r#"{"a":{"n":1}}"#,
        r#"[{"op":"increment","path":"/a/n","value":-3}]"#,
        r#"{"a":{"n":-2}}"#,
    ),
    (
        r#"{"n":1.5}"#,
        r#"[{"op":"increment","path":"/n","value":1}]"#,
        r#"{"n":2.5}"#,
    ),
    (
        r#"{"n":9223372036854775807}"#,
        r#"[{"op":"increment","path":"/n","value":1}]"#,
        r#"{"n":9223372036854775808}"#,
    ),
    (r#"{"n":1}"#, "[]", r#"{"n":1}"#),
];

/// A patch of the record in the test, and why it is refused.
const NOT_DONE: &[(&str, &str)] = &[
    (
        r#"[{"op":"test","path":"/a","value":"1"}]"#,
        "operation 0, a test, found another value",
    ),
    (
        r#"[{"op":"remove","path":"/x"}]"#,
        "operation 0 can't be done: there is no /x",
    ),
    (
        r#"[{"op":"add","path":"/x/y","value":1}]"#,
        "operation 0 can't be done: there is no /x",
    ),
    (
        r#"[{"op":"add","path":"/l/3","value":1}]"#,
        "operation 0 can't be done: there is no place /l/3",
    ),
    (
        r#"[{"op":"replace","path":"/l/01","value":1}]"#,
        "operation 0 can't be done: there is no /l/01",
    ),
    (
        r#"[{"op":"remove","path":""}]"#,
        "operation 0 can't be done: the record itself can't be removed",
    ),
    (
        r#"[{"op":"increment","path":"/l","value":1}]"#,
        "operation 0 can't be done: /l is an array, not a number",
    ),
    (
        r#"[{"op":"increment","path":"/big","value":1}]"#,
        "operation 0 can't be done: the sum of 18446744073709551615 and 1 is no number that can be kept",
    ),
    (
        r#"[{"op":"increment","path":"/big","value":0.5}]"#,
        "operation 0 can't be done: the sum of 18446744073709551615 and 0.5 is no number that can be kept",
    ),
    (
        r#"[{"op":"increment","path":"/f","value":1e308}]"#,
        "operation 0 can't be done: the sum of 1.7e+308 and 1e+308 is no number that can be kept",
    ),
    (
        r#"[{"op":"replace","path":"","value":1}]"#,
        "a record must be a JSON object, this is a number",
    ),
    (
        r#"[{"op":"x","path":"/a"}]"#,
        "operation 0 is not right: \"op\" must be add, remove, replace, move, copy, test or increment",
    ),
    (
        r#"[{"op":"add","path":"/a"}]"#,
        "operation 0 is not right: it needs \"value\"",
    ),
    (
        r#"[{"op":"increment","path":"/a","value":"1"}]"#,
        "operation 0 is not right: \"value\" must be a number",
    ),
    (
        r#"[{"op":"move","path":"/o/x","from":"/o"}]"#,
        "operation 0 is not right: a value can't be moved into itself",
    ),
    (
        r#"[{"op":"copy","path":"/o/x"}]"#,
        "operation 0 is not right: it needs \"from\", a text such as /title",
    ),
    (
        r#"[{"op":"remove","path":"a"}]"#,
        "operation 0 is not right: \"a\" is not a pointer such as /tags/0 (RFC 6901)",
    ),
    (
        r#"[{"op":"remove","path":"/~2"}]"#,
        "operation 0 is not right: \"/~2\" is not a pointer such as /tags/0 (RFC 6901)",
    ),
    (
        r#"[{"op":"remove"}]"#,
        "operation 0 is not right: it needs \"path\", a text such as /title",
    ),
    ("[1]", "operation 0 is not right: it must be an object"),
    (
        "{}",
        "a patch must be an array of operations, this is an object",
    ),
];

#[test]
fn operations_do_what_the_rfc_says() {
    // RFC 6902 appendix A, as far as the whole is an object, and the rest of the rules.
    for (before, patch, after) in DONE {
        let mut found = object(before);
        let patch = RecordPatch::operations(patch.as_bytes()).unwrap();
        patch.apply(&mut found, BYTES_MAX).unwrap();
        let text = |object: &JsonObject| object.without_id();
        assert_eq!(text(&found), text(&object(after)), "{before} {patch:?}");
    }
}

#[test]
fn what_can_not_be_done_is_told() {
    for (patch, why) in NOT_DONE {
        let mut found =
            object(r#"{"a":1,"l":[1,2],"o":{},"big":18446744073709551615,"f":1.7e308}"#);
        let done = RecordPatch::operations(patch.as_bytes());
        let done = done.and_then(|patch| patch.apply(&mut found, BYTES_MAX));
        assert_eq!(done.unwrap_err().to_string(), *why, "{patch}");
    }
    let many = format!("[{}]", vec!["1"; OPERATIONS_MAX + 1].join(","));
    let many = RecordPatch::operations(many.as_bytes());
    assert_eq!(many, Err(PatchFault::TooMany));
}

/// A patch of these operations, applied to a record.
fn applied(record: &str, operations: &[String]) -> Result<JsonObject, PatchFault> {
    let mut found = object(record);
    let patch = RecordPatch::operations(format!("[{}]", operations.join(",")).as_bytes())?;
    patch.apply(&mut found, BYTES_MAX)?;
    Ok(found)
}

#[track_caller]
fn assert_misfit(record: &str, operations: &[String], at: usize, why: &str) {
    let fault = applied(record, operations).unwrap_err();
    let text = fault.to_string();
    assert!(
        text.starts_with(&format!("operation {at} can't be done: ")),
        "{text}"
    );
    assert!(text.ends_with(why), "{text}");
    assert!(matches!(fault, PatchFault::Misfit { .. }), "{text}");
}

fn zeros(count: usize) -> String {
    format!(r#"{{"l":[{}]}}"#, vec!["0"; count].join(","))
}

#[test]
fn a_patch_can_not_copy_without_end() {
    let doubled = (0..40).map(|at| format!(r#"{{"op":"copy","from":"/o","path":"/o/x{at}"}}"#));
    let overwritten = vec![r#"{"op":"copy","from":"/o","path":"/p"}"#.to_owned(); 1000];
    let long = format!(r#"{{"o":"{}"}}"#, "x".repeat(100_000));
    for (record, operations, at) in [
        (r#"{"o":{"a":"0123456789"}}"#, doubled.collect(), 15),
        (&*long, overwritten, 10),
    ] {
        let why = "what the patch copies would have more than 1048576 bytes; copy less";
        assert_misfit(record, &operations, at, why);
    }
}

#[test]
fn a_patch_can_not_work_without_end() {
    let often = |operation: &str| vec![operation.to_owned(); OPERATIONS_MAX];
    let each = (0..1000).map(|at| format!(r#"{{"op":"remove","path":"/m{at}"}}"#));
    let members: Vec<_> = (0..10_000).map(|at| format!(r#""m{at}":0"#)).collect();
    let members = format!("{{{}}}", members.join(","));
    let list = zeros(100_000);
    for (record, operations, at) in [
        (&list, often(r#"{"op":"add","path":"/l/0","value":0}"#), 19),
        (&list, often(r#"{"op":"remove","path":"/l/0"}"#), 20),
        (
            &list,
            often(r#"{"op":"move","from":"/l/0","path":"/l/0"}"#),
            10,
        ),
        (&list, often(r#"{"op":"move","from":"/l","path":"/l"}"#), 19),
        (&members, each.collect(), 202),
    ] {
        let why = "the patch would move more than 2000000 values; replace the whole array or object, or send several patches";
        assert_misfit(record, &operations, at, why);
    }
}

#[test]
fn a_patch_can_not_nest_values_deeper_than_they_are_read() {
    let nested = "[".repeat(120) + &"]".repeat(120);
    let record = format!(r#"{{"a":{nested},"b":{nested}}}"#);
    let bottom = format!("/b{}", "/0".repeat(119));
    let shallow = format!(r#"{{"op":"add","path":"{bottom}/-","value":0}}"#);
    for operation in [
        format!(r#"{{"op":"move","from":"/a","path":"{bottom}/-"}}"#),
        format!(r#"{{"op":"copy","from":"/b","path":"{bottom}/-"}}"#),
        format!(r#"{{"op":"add","path":"{bottom}/-","value":{nested}}}"#),
        format!(r#"{{"op":"replace","path":"{bottom}/0","value":{nested}}}"#),
    ] {
        let why = "would be nested deeper than 127 levels; put the value higher";
        assert_misfit(&record, &[shallow.clone(), operation], 1, why);
    }
}

#[test]
fn a_patch_within_its_bounds_is_done() {
    // As deep as a body may be, and it can be read again.
    let bottom = "/0".repeat(119);
    let nested = "[".repeat(120) + &"]".repeat(120);
    let add = format!(r#"{{"op":"add","path":"/b{bottom}/-","value":[[[[[[]]]]]]}}"#);
    let done = applied(&format!(r#"{{"b":{nested}}}"#), &[add]).unwrap();
    let text = format!("{{\"id\":1{}", done.without_id());
    JsonObject::parse(text.as_bytes()).unwrap();
    // Many operations on a list of usual length.
    let first = r#"{"op":"move","from":"/l/0","path":"/l/-"}"#.to_owned();
    applied(&zeros(1000), &vec![first; OPERATIONS_MAX]).unwrap();
    // A copy as large as the record may be.
    let copy = r#"{"op":"copy","from":"/o","path":"/p"}"#.to_owned();
    let record = format!(r#"{{"o":"{}"}}"#, "x".repeat(BYTES_MAX - 2));
    applied(&record, &[copy]).unwrap();
}
