//! Patches: the examples of the RFC, and what is refused.

use super::*;

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
        patch.apply(&mut found).unwrap();
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
        let done = done.and_then(|patch| patch.apply(&mut found));
        assert_eq!(done.unwrap_err().to_string(), *why, "{patch}");
    }
    let many = format!("[{}]", vec!["1"; OPERATIONS_MAX + 1].join(","));
    let many = RecordPatch::operations(many.as_bytes());
    assert_eq!(many, Err(PatchFault::TooMany));
}
