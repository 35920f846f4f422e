use jsonwebtoken::{EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm};
use serde_json::json;

use super::*;

const RSA_PRIVATE: &[u8] = include_bytes!("../../tests/golden/settings/rsa-private.pem");
const RSA_PUBLIC: &[u8] = include_bytes!("../../tests/golden/settings/rsa-public.pem");
const RSA_1024: &[u8] = include_bytes!("../../tests/golden/settings/rsa-1024-public.pem");
const P384: &[u8] = include_bytes!("../../tests/golden/settings/p384-public.pem");
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: f64 = 1_000_000.0;

/// An issuer of tokens: the public file of its key, and what it signs with.
pub(crate) struct Issuer {
    pub(crate) public: Vec<u8>,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Issuer {
    pub(crate) fn ed25519() -> Self {
        let (public, private) = pair(&PKCS_ED25519);
        Self {
            public,
            algorithm: Algorithm::EdDSA,
            key: EncodingKey::from_ed_pem(&private).unwrap(),
        }
    }

    fn p256() -> Self {
        let (public, private) = pair(&PKCS_ECDSA_P256_SHA256);
        Self {
            public,
            algorithm: Algorithm::ES256,
            key: EncodingKey::from_ec_pem(&private).unwrap(),
        }
    }

    fn rsa() -> Self {
        Self {
            public: RSA_PUBLIC.to_vec(),
            algorithm: Algorithm::RS256,
            key: EncodingKey::from_rsa_pem(RSA_PRIVATE).unwrap(),
        }
    }

    fn secret(secret: &[u8]) -> Self {
        Self {
            public: secret.to_vec(),
            algorithm: Algorithm::HS256,
            key: EncodingKey::from_secret(secret).unwrap(),
        }
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        encode(&Header::new(self.algorithm), claims, &self.key).unwrap()
    }

    fn named(&self, kid: &str, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(kid.to_owned());
        encode(&header, claims, &self.key).unwrap()
    }
}

fn pair(of: &'static SignatureAlgorithm) -> (Vec<u8>, Vec<u8>) {
    let pair = KeyPair::generate_for(of).unwrap();
    let public = pair.public_key_pem().into_bytes();
    (public, pair.serialize_pem().into_bytes())
}

fn claims() -> Value {
    json!({ "sub": "ann", "exp": NOW + 60.0, "role": "editor" })
}

fn rules() -> TokenRules {
    TokenRules {
        role_claim: "role".to_owned(),
        ..TokenRules::default()
    }
}

fn checked(token: &str, keys: &TokenKeys, rules: &TokenRules) -> Result<ValidToken, TokenFault> {
    let token = verify(token, keys, rules)?;
    token.check_time(NOW).map(|()| token)
}

const ALL: [TokenAlgorithm; 4] = [
    TokenAlgorithm::EdDsa,
    TokenAlgorithm::Es256,
    TokenAlgorithm::Rs256,
    TokenAlgorithm::Hs256,
];

#[test]
fn each_algorithm_verifies_its_own_tokens_and_no_others() {
    let issuers = [
        Issuer::ed25519(),
        Issuer::p256(),
        Issuer::rsa(),
        Issuer::secret(SECRET),
    ];
    for (issuer, algorithm) in issuers.iter().zip(ALL) {
        let keys = TokenKeys::read(&issuer.public, &[algorithm]).unwrap();
        for other in &issuers {
            let valid = checked(&other.token(&claims()), &keys, &rules());
            let expected = if std::ptr::eq(issuer, other) {
                Ok(("ann".to_owned(), vec!["editor".to_owned()]))
            } else {
                Err(TokenFault::Signature)
            };
            let found = valid.map(|valid| (valid.subject, valid.roles));
            assert_eq!(found, expected, "{algorithm:?}");
        }
    }
}

/// The parts of a token in the hands of an attacker.
fn forged(header: &Value, claims: &Value, signature: &str) -> String {
    use base64::Engine as _;
    let part = |value: &Value| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

#[test]
fn forged_tokens_do_not_count() {
    let issuer = Issuer::rsa();
    let keys = TokenKeys::read(&issuer.public, &[TokenAlgorithm::Rs256]).unwrap();
    let right = issuer.token(&claims());
    assert!(checked(&right, &keys, &rules()).is_ok());
    let (head, rest) = right.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    // The public key of the issuer as a secret: the oldest trick.
    let confused = Issuer::secret(&issuer.public).token(&claims());
    let admin = json!({ "sub": "root", "exp": NOW + 60.0, "role": "admin" });
    let of = |alg: &str| forged(&json!({ "alg": alg, "typ": "JWT" }), &admin, signature);
    let own_key = json!({ "alg": "RS256", "jwk": { "kty": "oct", "k": "AAAA" } });
    let critical = json!({ "alg": "RS256", "crit": ["exp"], "exp": 1 });
    let other_admin = of("RS256");
    let other_body = other_admin.split('.').nth(1).unwrap();
    for forged in [
        confused,
        of("none"),
        of("None"),
        of("HS256"),
        of("RS256"),
        of("ES256"),
        forged(&json!({ "alg": "none" }), &admin, ""),
        forged(&own_key, &admin, signature),
        forged(&critical, &admin, signature),
        format!("{head}.{body}."),
        format!("{head}.{body}"),
        format!(
            "{head}.{body}.{}",
            signature.split_at(signature.len() - 2).0
        ),
        format!("{head}.{other_body}.{signature}"),
        format!("{head}.{body}.{signature}.{signature}"),
        format!(".{body}.{signature}"),
        format!("{right}A"),
        format!(" {right}"),
        "..".to_owned(),
        String::new(),
        "a.b.c".to_owned(),
        format!("{head}.{}.{signature}", "A".repeat(TOKEN_BYTES_MAX)),
    ] {
        let fault = checked(&forged, &keys, &rules()).unwrap_err();
        let expected = [TokenFault::Unread, TokenFault::Signature];
        assert!(expected.contains(&fault), "{forged}: {fault:?}");
    }
}

#[test]
fn claims_decide_whether_a_token_counts() {
    let issuer = Issuer::ed25519();
    let keys = TokenKeys::read(&issuer.public, &[TokenAlgorithm::EdDsa]).unwrap();
    let strict = TokenRules {
        issuer: Some("us".to_owned()),
        audience: Some("here".to_owned()),
        leeway: Duration::from_secs(10),
        ..rules()
    };
    let with = |name: &str, value: Value| {
        let mut claims = json!({ "sub": "ann", "exp": NOW + 60.0, "iss": "us", "aud": "here" });
        claims[name] = value;
        claims
    };
    let long = "x".repeat(SUBJECT_BYTES_MAX + 1);
    for (claims, expected) in [
        (with("aud", json!(["there", "here"])), None),
        (with("exp", json!(NOW - 9.0)), None),
        (with("exp", json!(NOW - 10.0)), Some(TokenFault::Expired)),
        (with("exp", json!(0)), Some(TokenFault::Expired)),
        (with("exp", json!(-1)), Some(TokenFault::Expired)),
        (with("exp", json!("9999999999")), Some(TokenFault::Claim)),
        (with("exp", json!(null)), Some(TokenFault::Claim)),
        (with("nbf", json!(NOW + 10.0)), None),
        (with("nbf", json!(NOW + 10.5)), Some(TokenFault::Early)),
        (with("nbf", json!("0")), Some(TokenFault::Claim)),
        (with("iss", json!("them")), Some(TokenFault::Issuer)),
        (with("iss", json!(["us"])), Some(TokenFault::Issuer)),
        (with("iss", json!(null)), Some(TokenFault::Issuer)),
        (with("aud", json!("there")), Some(TokenFault::Audience)),
        (with("aud", json!([])), Some(TokenFault::Audience)),
        (
            with("aud", json!({ "here": 1 })),
            Some(TokenFault::Audience),
        ),
        (with("sub", json!("")), Some(TokenFault::Subject)),
        (with("sub", json!(long)), Some(TokenFault::Subject)),
        (with("sub", json!(7)), Some(TokenFault::Subject)),
        (with("role", json!(7)), Some(TokenFault::Claim)),
        (with("role", json!(["a", 7])), Some(TokenFault::Claim)),
    ] {
        let found = checked(&issuer.token(&claims), &keys, &strict).err();
        assert_eq!(found, expected, "{claims}");
    }
    let mut endless = claims();
    endless.as_object_mut().unwrap().remove("exp");
    let fault = checked(&issuer.token(&endless), &keys, &rules());
    assert_eq!(fault, Err(TokenFault::Endless));
    // A token for somebody else, where nobody says who we are.
    let fault = checked(&issuer.token(&with("a", json!(1))), &keys, &rules());
    assert_eq!(fault, Err(TokenFault::Audience));
}

#[test]
fn roles_are_a_list_or_a_text_at_a_name_or_a_pointer() {
    let claims = json!({
        "scope": "books:read  books:write",
        "https://a.example/roles": ["a b", "c"],
        "realm": { "a/b": { "roles": ["x"] } },
        "none": null,
    });
    for (claim, expected) in [
        ("scope", &["books:read", "books:write"][..]),
        ("https://a.example/roles", &["a b", "c"]),
        ("/realm/a~1b/roles", &["x"]),
        ("/realm/nothing/roles", &[]),
        ("none", &[]),
        ("other", &[]),
    ] {
        let found = roles(claims.as_object().unwrap(), claim).unwrap();
        assert_eq!(found, expected, "{claim}");
    }
}

/// A key of a set, as its issuer publishes it.
fn jwk(issuer: &Issuer, more: &Value) -> Value {
    let public = DecodingKey::from_ed_pem(&issuer.public).unwrap();
    let key = Jwk::from_decoding_key(&public, Some(Algorithm::EdDSA)).unwrap();
    let mut key = serde_json::to_value(key).unwrap();
    let members = key.as_object_mut().unwrap();
    members.remove("alg");
    members.extend(more.as_object().unwrap().clone());
    key
}

#[test]
fn a_set_of_keys_is_chosen_from_by_name_and_by_algorithm() {
    let (one, two, three) = (Issuer::ed25519(), Issuer::ed25519(), Issuer::ed25519());
    let set = json!({ "keys": [
        jwk(&one, &json!({ "kid": "one" })),
        jwk(&two, &json!({})),
        jwk(&three, &json!({ "kid": "three", "use": "enc" })),
        { "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA" },
    ]});
    let keys = TokenKeys::read(set.to_string().as_bytes(), &ALL).unwrap();
    for (token, counts) in [
        (one.token(&claims()), true),
        (one.named("one", &claims()), true),
        (one.named("two", &claims()), false),
        (two.token(&claims()), true),
        (two.named("any", &claims()), true),
        (three.token(&claims()), false),
        (three.named("three", &claims()), false),
    ] {
        assert_eq!(checked(&token, &keys, &rules()).is_ok(), counts, "{token}");
    }
}

#[test]
fn a_file_without_usable_keys_is_refused_with_the_reason() {
    let ed25519 = Issuer::ed25519();
    let set = |keys: Value| json!({ "keys": keys }).to_string().into_bytes();
    let short = json!({ "kty": "oct", "k": "AAAA" });
    let many = vec![jwk(&ed25519, &json!({})); KEYS_MAX + 1];
    let (eddsa, hs256) = (TokenAlgorithm::EdDsa, TokenAlgorithm::Hs256);
    for (content, algorithms, expected) in [
        (b"".to_vec(), &[eddsa][..], TokenKeyFault::Unread),
        (b"{}".to_vec(), &[eddsa], TokenKeyFault::Unread),
        (SECRET.to_vec(), &[eddsa, hs256], TokenKeyFault::Unread),
        (SECRET[1..].to_vec(), &[hs256], TokenKeyFault::Weak),
        (b"\n".to_vec(), &[hs256], TokenKeyFault::Weak),
        (ed25519.public.clone(), &[hs256], TokenKeyFault::NotSecret),
        (
            ed25519.public.clone(),
            &[TokenAlgorithm::Es256, hs256],
            TokenKeyFault::OtherKey,
        ),
        (
            P384.to_vec(),
            &[TokenAlgorithm::Es256],
            TokenKeyFault::OtherKey,
        ),
        (
            RSA_1024.to_vec(),
            &[TokenAlgorithm::Rs256],
            TokenKeyFault::Weak,
        ),
        (
            RSA_PRIVATE.to_vec(),
            &[TokenAlgorithm::Rs256],
            TokenKeyFault::NotPublic,
        ),
        (set(json!([])), &ALL, TokenKeyFault::NoKey),
        (set(json!([short])), &ALL, TokenKeyFault::Weak),
        (set(json!(many)), &ALL, TokenKeyFault::TooMany),
        (
            set(json!([jwk(&ed25519, &json!({ "alg": "ES256" }))])),
            &ALL,
            TokenKeyFault::NoKey,
        ),
        (
            set(json!([jwk(&ed25519, &json!({}))])),
            &[hs256],
            TokenKeyFault::NoKey,
        ),
    ] {
        let found = TokenKeys::read(&content, algorithms).err();
        let text = String::from_utf8_lossy(&content).into_owned();
        assert_eq!(found, Some(expected), "{text}");
    }
}
