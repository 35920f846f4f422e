//! Problems as clients see them.

use super::*;

fn header(problem: &Problem, name: &str) -> Option<String> {
    let response = problem.answer("/books", "7");
    let value = response.headers().get(name)?;
    Some(value.to_str().unwrap().to_owned())
}

#[test]
fn a_503_says_when_to_come_again_unless_it_may_have_been_done() {
    let after = |problem: Problem| header(&problem, "retry-after");
    for code in [Code::Unavailable, Code::Overloaded, Code::NotReady] {
        assert_eq!(after(Problem::new(code)).as_deref(), Some("1"), "{code:?}");
    }
    let patient = Problem::new(Code::Overloaded).retry_after(Duration::from_millis(7_500));
    assert_eq!(after(patient).as_deref(), Some("8"));
    assert_eq!(after(Problem::new(Code::OutcomeUnknown)), None);
    assert_eq!(
        after(Problem::new(Code::ShuttingDown)).as_deref(),
        Some("1")
    );
    assert_eq!(after(Problem::new(Code::NotFound)), None);
}

#[test]
fn the_body_has_every_member_of_the_dialect() {
    let body = Problem::not_allowed("GET").body("/books", "7");
    assert_eq!(
        body.to_string(),
        "{\"type\":\"/problems/method-not-allowed\",\"title\":\"The method is not allowed here\",\"status\":405,\
         \"code\":\"method_not_allowed\",\"detail\":\"allowed here: GET\",\"instance\":\"/books\",\"request_id\":\"7\",\
         \"message\":\"allowed here: GET\"}"
    );
    let accept_post = HeaderName::from_static("accept-post");
    let unsupported = Problem::unsupported(None, accept_post, "application/json");
    assert_eq!(
        header(&unsupported, "accept-post").as_deref(),
        Some("application/json")
    );
    assert_eq!(
        header(&Problem::not_allowed("GET"), "allow").as_deref(),
        Some("GET")
    );
}
