//! One operation, and how the document writes it. Pure.

use serde_json::{Map, Value, json};

use super::super::identities::TakenCredentials;
use super::problems::{self, Arises};
use crate::settings::ResourceSettings;

/// The names of the schemes by which clients show who they are.
const KEY: &str = "key";
const TOKEN: &str = "token";
const PASSWORD: &str = "password";

/// The schemes by their names.
pub(super) fn security_schemes() -> Value {
    json!({
        KEY: { "type": "http", "scheme": "bearer", "description": "The secret of a key of the server" },
        TOKEN: { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
        PASSWORD: { "type": "http", "scheme": "basic" },
    })
}

/// The answer to an operation when all went well.
struct Success {
    status: u16,
    description: &'static str,
    headers: &'static [&'static str],
    /// The media types with the schemas of their bodies.
    content: Vec<(&'static str, Value)>,
}

/// One operation.
#[derive(Default)]
pub(super) struct Operation {
    id: String,
    tag: String,
    summary: String,
    parameters: Vec<Value>,
    body: Option<Value>,
    successes: Vec<Success>,
    problems: Vec<Arises>,
    /// The keys of which the client must show one; `None` if it need not show any.
    security: Option<Value>,
    /// The links of the answer 201 to other operations.
    pub(super) links: Value,
}

/// A reference to a component of this kind.
pub(super) fn component(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

pub(super) fn schema_ref(name: &str) -> Value {
    component("schemas", name)
}

/// References to header fields of an answer, by their names.
pub(super) fn answer_headers(names: &[&str]) -> Map<String, Value> {
    let headers = names.iter();
    let headers = headers.map(|name| ((*name).to_owned(), component("headers", name)));
    headers.collect()
}

fn contents(content: impl IntoIterator<Item = (impl Into<String>, Value)>) -> Map<String, Value> {
    let content = content.into_iter();
    let content = content.map(|(of, schema)| (of.into(), json!({ "schema": schema })));
    content.collect()
}

impl Operation {
    /// An operation without parameters, such as that on a document.
    pub(super) fn new(id: String, tag: &str, summary: impl Into<String>) -> Self {
        Self {
            id,
            tag: tag.to_owned(),
            summary: summary.into(),
            links: Value::Null,
            ..Self::default()
        }
    }

    pub(super) fn with(mut self, parameters: impl IntoIterator<Item = Value>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    pub(super) fn headers(self, names: &[&str]) -> Self {
        let references = names.iter();
        self.with(references.map(|name| component("parameters", name)))
    }

    pub(super) fn answers(
        mut self,
        status: u16,
        description: &'static str,
        headers: &'static [&'static str],
        content: Vec<(&'static str, Value)>,
    ) -> Self {
        self.successes.push(Success {
            status,
            description,
            headers,
            content,
        });
        self
    }

    pub(super) fn not_modified(self) -> Self {
        self.answers(304, "The client has it already", &["ETag"], Vec::new())
    }

    pub(super) fn fails(mut self, of: &[Arises]) -> Self {
        self.problems.extend_from_slice(of);
        self
    }

    /// For clients that show who they are; `always`, or as it depends on the body.
    pub(super) fn for_clients(mut self, taken: TakenCredentials, always: bool) -> Self {
        let TakenCredentials {
            keys,
            passwords,
            tokens,
        } = taken;
        let schemes = [(keys, KEY), (tokens, TOKEN), (passwords, PASSWORD)];
        let schemes = schemes.iter().filter(|(is_taken, _)| *is_taken);
        let schemes = schemes.map(|(_, name)| json!({ *name: [] }));
        let none = (!always).then(|| json!({}));
        self.security = Some(none.into_iter().chain(schemes).collect());
        self.fails(&[Arises::Limited])
    }

    pub(super) fn body(
        mut self,
        required: bool,
        content: impl IntoIterator<Item = (String, Value)>,
    ) -> Self {
        self.body = Some(json!({ "required": required, "content": contents(content) }));
        self
    }

    /// The same for HEAD, whose answers have no bodies.
    fn head(&self) -> Self {
        let successes = self.successes.iter().map(|success| Success {
            content: Vec::new(),
            ..*success
        });
        Self {
            id: format!("{}.head", self.id),
            tag: self.tag.clone(),
            summary: format!("{}: only the head of the answer", self.summary),
            parameters: self.parameters.clone(),
            body: None,
            successes: successes.collect(),
            problems: self.problems.clone(),
            security: self.security.clone(),
            links: Value::Null,
        }
    }

    /// The object of the document. `method` is in small letters.
    pub(super) fn object(self, method: &str) -> Value {
        let mut responses = Map::new();
        for success in self.successes {
            let headers = answer_headers(&[success.headers, &["X-Request-Id"]].concat());
            let mut response = json!({ "description": success.description, "headers": headers });
            if let Some(response) = response.as_object_mut() {
                if !success.content.is_empty() {
                    let content = contents(success.content);
                    response.insert("content".to_owned(), content.into());
                }
                if success.status == 201 && !self.links.is_null() {
                    response.insert("links".to_owned(), self.links.clone());
                }
            }
            responses.insert(success.status.to_string(), response);
        }
        problems::add_answers(&mut responses, &self.problems, method != "head");
        let mut operation =
            json!({ "operationId": self.id, "tags": [self.tag], "summary": self.summary });
        if let Some(operation) = operation.as_object_mut() {
            if !self.parameters.is_empty() {
                operation.insert("parameters".to_owned(), self.parameters.into());
            }
            if let Some(body) = self.body {
                operation.insert("requestBody".to_owned(), body);
            }
            if let Some(security) = self.security {
                operation.insert("security".to_owned(), security);
            }
            operation.insert("responses".to_owned(), responses.into());
        }
        operation
    }
}

/// The methods of a resource that its settings leave.
pub(super) fn left_of(methods: &str, settings: &ResourceSettings) -> String {
    let allowed = &settings.rules.methods;
    let named = |method: &str| match method {
        "OPTIONS" => true,
        "HEAD" => allowed.iter().any(|allowed| allowed == "GET"),
        method => allowed.iter().any(|allowed| allowed == method),
    };
    let left = methods.split(", ");
    let left = left.filter(|method| allowed.is_empty() || named(method));
    left.collect::<Vec<_>>().join(", ")
}

/// The operations of a path: those of these methods, as the router has them.
pub(super) fn path_item(
    methods: &str,
    tag: &str,
    operation: impl Fn(&str) -> Option<Operation>,
) -> Value {
    let mut item = Map::new();
    for method in methods.split(", ") {
        let found = match method {
            "HEAD" => operation("GET").map(|get| get.head()),
            "OPTIONS" => {
                let of = operation(methods.split(", ").next().unwrap_or_default());
                of.map(|of| options(&of.id, tag))
            }
            method => operation(method),
        };
        let method = method.to_ascii_lowercase();
        if let Some(found) = found {
            let object = found.object(&method);
            item.insert(method, object);
        }
    }
    item.into()
}

/// The operations of a path that is only read.
pub(super) fn read_item(methods: &str, tag: &str, get: impl Fn() -> Operation) -> Value {
    path_item(methods, tag, |method| (method == "GET").then(&get))
}

fn options(of: &str, tag: &str) -> Operation {
    Operation::new(
        format!("{of}.options"),
        tag,
        "The methods that are allowed here",
    )
    .answers(
        204,
        "The methods, and the media types of bodies",
        &["Allow"],
        Vec::new(),
    )
}
