//! JSON Web Tokens (RFC 7519): the keys by which they are verified, and the rules that their claims have to keep. Pure; the time is
//! an argument.

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Validation, decode, decode_header};
use serde_json::{Map, Value};

/// The most keys of a file.
const KEYS_MAX: usize = 32;
/// The longest token, in bytes.
pub(crate) const TOKEN_BYTES_MAX: usize = 8 << 10;
/// The longest subject, in bytes.
const SUBJECT_BYTES_MAX: usize = 200;
/// The fewest bytes of a secret (RFC 7518 section 3.2) and of the modulus of RSA (section 3.3).
const SECRET_BYTES_MIN: usize = 32;
const MODULUS_BYTES_MIN: usize = 256;
/// The beginnings of a text in PEM, of a public key, and of one of RSA.
const PEM: &str = "-----BEGIN ";
const PUBLIC_PEM: [&str; 2] = [
    "-----BEGIN PUBLIC KEY-----",
    "-----BEGIN RSA PUBLIC KEY-----",
];

/// The algorithms of signatures that can be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub enum TokenAlgorithm {
    /// Ed25519 (RFC 8037).
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ECDSA with P-256 and SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// RSA PKCS #1 v1.5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// HMAC with SHA-256: whoever can verify a token can make one.
    #[serde(rename = "HS256")]
    Hs256,
}

impl TokenAlgorithm {
    fn of_library(self) -> Algorithm {
        match self {
            Self::EdDsa => Algorithm::EdDSA,
            Self::Es256 => Algorithm::ES256,
            Self::Rs256 => Algorithm::RS256,
            Self::Hs256 => Algorithm::HS256,
        }
    }

    /// The algorithm whose keys have this form.
    fn of_jwk(key: &Jwk) -> Option<Self> {
        match &key.algorithm {
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                Some(Self::EdDsa)
            }
            AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P256 => {
                Some(Self::Es256)
            }
            AlgorithmParameters::RSA(_) => Some(Self::Rs256),
            AlgorithmParameters::OctetKey(_) => Some(Self::Hs256),
            AlgorithmParameters::OctetKeyPair(_)
            | AlgorithmParameters::EllipticCurve(_)
            | AlgorithmParameters::Other(_)
            | _ => None,
        }
    }
}

/// The reason why a file has no keys for tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenKeyFault {
    /// It is neither PEM nor JWKS.
    #[error(
        "has neither a public key in PEM (\"-----BEGIN PUBLIC KEY-----\") nor a JSON Web Key Set ({{\"keys\":[..]}})"
    )]
    Unread,
    /// The key in PEM is none of an algorithm that is allowed.
    #[error("has no public key for the algorithms that are allowed")]
    OtherKey,
    /// The key is not for everybody.
    #[error("is not a public key; write one with openssl pkey -in FILE -pubout -out PUBLIC")]
    NotPublic,
    /// The set has no key of an algorithm that is allowed.
    #[error("has no key that fits the algorithms that are allowed and verifies signatures")]
    NoKey,
    /// Too many keys.
    #[error("has more than {KEYS_MAX} keys")]
    TooMany,
    /// The key is easy to guess or to break.
    #[error(
        "has a key that is too weak: a secret needs {SECRET_BYTES_MIN} bytes, and RSA 2048 bits"
    )]
    Weak,
    /// A public key where a secret should be.
    #[error("has a public key, which everybody may know, in the place of the secret of HS256")]
    NotSecret,
}

// Decision: The algorithm of a token is that of its key.
/// The keys of a file.
#[derive(Clone)]
pub(crate) struct TokenKeys(Arc<KeysOfFile>);

struct KeysOfFile {
    content: Vec<u8>,
    keys: Vec<TokenKey>,
}

struct TokenKey {
    /// The `kid` that a token may name.
    id: Option<String>,
    algorithm: TokenAlgorithm,
    key: DecodingKey,
}

impl PartialEq for TokenKeys {
    /// Whether the files had the same content.
    fn eq(&self, other: &Self) -> bool {
        self.0.content == other.0.content
    }
}

impl fmt::Debug for TokenKeys {
    /// No secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKeys({})", self.0.keys.len())
    }
}

impl TokenKeys {
    /// Reads a file: a public key in PEM, a JSON Web Key Set (RFC 7517), or, if HS256 is the one algorithm, a secret, without the
    /// line end behind it.
    pub(crate) fn read(
        content: &[u8],
        algorithms: &[TokenAlgorithm],
    ) -> Result<Self, TokenKeyFault> {
        let begins = |with: &str| content.trim_ascii_start().starts_with(with.as_bytes());
        let keys = if begins(PEM) {
            if !PUBLIC_PEM.into_iter().any(begins) {
                return Err(TokenKeyFault::NotPublic);
            }
            vec![of_pem(content, algorithms)?]
        } else if let Ok(set) = serde_json::from_slice::<JwkSet>(content) {
            of_set(&set, algorithms)?
        } else if algorithms == [TokenAlgorithm::Hs256] {
            let secret = content.trim_ascii_end();
            let key = DecodingKey::from_secret(secret).map_err(|_| TokenKeyFault::Weak)?;
            vec![TokenKey::new(None, TokenAlgorithm::Hs256, key)?]
        } else {
            return Err(TokenKeyFault::Unread);
        };
        let content = content.to_vec();
        Ok(Self(Arc::new(KeysOfFile { content, keys })))
    }
}

impl TokenKey {
    /// A key that can be used and is not weak.
    fn new(
        id: Option<String>,
        algorithm: TokenAlgorithm,
        key: DecodingKey,
    ) -> Result<Self, TokenKeyFault> {
        let weak = match (algorithm, key.kind()) {
            (TokenAlgorithm::Hs256, DecodingKeyKind::SecretOrDer(secret)) => {
                secret.len() < SECRET_BYTES_MIN
            }
            (TokenAlgorithm::Rs256, DecodingKeyKind::RsaModulusExponent { n, .. }) => {
                let zeros = n.iter().take_while(|byte| **byte == 0).count();
                n.len() - zeros < MODULUS_BYTES_MIN
            }
            // The modulus is nearly all of it.
            (TokenAlgorithm::Rs256, DecodingKeyKind::SecretOrDer(der)) => {
                der.len() < MODULUS_BYTES_MIN
            }
            (
                TokenAlgorithm::EdDsa | TokenAlgorithm::Es256 | TokenAlgorithm::Hs256,
                DecodingKeyKind::SecretOrDer(_) | DecodingKeyKind::RsaModulusExponent { .. },
            ) => false,
        };
        if weak {
            return Err(TokenKeyFault::Weak);
        }
        // A point that is not on its curve is told now.
        let tried = jsonwebtoken::crypto::verify("", b"", &key, algorithm.of_library());
        tried.map_err(|_| TokenKeyFault::OtherKey)?;
        Ok(Self { id, algorithm, key })
    }
}

fn of_pem(content: &[u8], algorithms: &[TokenAlgorithm]) -> Result<TokenKey, TokenKeyFault> {
    for algorithm in algorithms {
        let key = match algorithm {
            TokenAlgorithm::EdDsa => DecodingKey::from_ed_pem(content),
            TokenAlgorithm::Es256 => DecodingKey::from_ec_pem(content),
            TokenAlgorithm::Rs256 => DecodingKey::from_rsa_pem(content),
            TokenAlgorithm::Hs256 if algorithms.len() == 1 => {
                return Err(TokenKeyFault::NotSecret);
            }
            TokenAlgorithm::Hs256 => continue,
        };
        match key.map(|key| TokenKey::new(None, *algorithm, key)) {
            Ok(Ok(key)) => return Ok(key),
            Ok(Err(TokenKeyFault::Weak)) => return Err(TokenKeyFault::Weak),
            Ok(Err(_)) | Err(_) => {}
        }
    }
    Err(TokenKeyFault::OtherKey)
}

/// The keys of a set that fit. Those of other algorithms, and those for encryption, are left out (RFC 7517 section 5).
fn of_set(set: &JwkSet, algorithms: &[TokenAlgorithm]) -> Result<Vec<TokenKey>, TokenKeyFault> {
    if set.keys.len() > KEYS_MAX {
        return Err(TokenKeyFault::TooMany);
    }
    let mut keys = Vec::new();
    for jwk in &set.keys {
        let Some(algorithm) = TokenAlgorithm::of_jwk(jwk) else {
            continue;
        };
        let signs = !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
        let named = jwk.common.key_algorithm.map(|named| named.to_string());
        let is_meant = named.is_none_or(|named| named == format!("{:?}", algorithm.of_library()));
        if !signs || !is_meant || !algorithms.contains(&algorithm) {
            continue;
        }
        let key = DecodingKey::from_jwk(jwk).map_err(|_| TokenKeyFault::NoKey)?;
        keys.push(TokenKey::new(jwk.common.key_id.clone(), algorithm, key)?);
    }
    if keys.is_empty() {
        return Err(TokenKeyFault::NoKey);
    }
    Ok(keys)
}

/// The rules that a token has to keep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TokenRules {
    /// Its `iss`, if one is asked for.
    pub(crate) issuer: Option<String>,
    /// A member of its `aud`, if one is asked for.
    pub(crate) audience: Option<String>,
    /// The claim that has its roles: its name, or a JSON Pointer (RFC 6901) to it.
    pub(crate) role_claim: String,
    /// By so much a clock may be wrong.
    pub(crate) leeway: Duration,
}

/// A token that is valid for some time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ValidToken {
    /// Its `sub`.
    pub(crate) subject: String,
    pub(crate) roles: Vec<String>,
    /// The times between which it is valid, in seconds since 1970. It is not valid at the second one.
    from: f64,
    pub(crate) until: f64,
}

impl ValidToken {
    /// Refuses it if it is not valid at this time, in seconds since 1970.
    pub(crate) fn check_time(&self, now: f64) -> Result<(), TokenFault> {
        if now >= self.until {
            return Err(TokenFault::Expired);
        }
        (now >= self.from).then_some(()).ok_or(TokenFault::Early)
    }
}

/// The reason why a token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenFault {
    /// It is no token.
    #[error("the token is not a JSON Web Token of at most {TOKEN_BYTES_MAX} bytes")]
    Unread,
    /// No key verifies it.
    #[error("the signature of the token is not one of a key and an algorithm that count here")]
    Signature,
    /// Its time is over.
    #[error("the token has expired; get a new one")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    Early,
    /// It has no `exp`.
    #[error("the token does not tell when it expires (exp)")]
    Endless,
    /// It is meant for others.
    #[error("the token is for another audience (aud)")]
    Audience,
    /// It is made by others.
    #[error("the token comes from another issuer (iss)")]
    Issuer,
    /// It does not tell whose it is.
    #[error("the token has no subject (sub) of 1 to {SUBJECT_BYTES_MAX} bytes")]
    Subject,
    /// A claim that counts is none.
    #[error("a claim of the token has a value of another type than it must have")]
    Claim,
}

/// Verifies a token by the keys that fit what its header says, and reads its claims. Its time is looked at by
/// [`ValidToken::check_time`].
pub(crate) fn verify(
    token: &str,
    keys: &TokenKeys,
    rules: &TokenRules,
) -> Result<ValidToken, TokenFault> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenFault::Unread);
    }
    let header = decode_header(token).map_err(|_| TokenFault::Unread)?;
    let keys = keys.0.keys.iter();
    let fits = |key: &&TokenKey| {
        let named = header.kid.as_ref().zip(key.id.as_ref());
        key.algorithm.of_library() == header.alg && named.is_none_or(|(wanted, id)| wanted == id)
    };
    for key in keys.filter(fits) {
        let mut only_signature = Validation::new(key.algorithm.of_library());
        only_signature.required_spec_claims.clear();
        only_signature.validate_exp = false;
        only_signature.validate_aud = false;
        if let Ok(token) = decode::<Map<String, Value>>(token, &key.key, &only_signature) {
            return read_claims(&token.claims, rules);
        }
    }
    Err(TokenFault::Signature)
}

/// The facts of the claims (RFC 7519 section 4.1).
fn read_claims(claims: &Map<String, Value>, rules: &TokenRules) -> Result<ValidToken, TokenFault> {
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(TokenFault::Claim),
    };
    let leeway = rules.leeway.as_secs_f64();
    let until = time("exp")?.ok_or(TokenFault::Endless)? + leeway;
    let from = time("nbf")?.map_or(f64::NEG_INFINITY, |from| from - leeway);
    let is_or_has = |claim: &str, wanted: &str| match claims.get(claim) {
        Some(Value::Array(items)) => items.iter().any(|item| item == wanted),
        Some(value) => value == wanted,
        None => false,
    };
    if let Some(issuer) = &rules.issuer
        && claims.get("iss").and_then(Value::as_str) != Some(issuer)
    {
        return Err(TokenFault::Issuer);
    }
    match &rules.audience {
        Some(audience) if !is_or_has("aud", audience) => return Err(TokenFault::Audience),
        // A token that names an audience is for those alone who know themselves to be of it.
        None if claims.contains_key("aud") => return Err(TokenFault::Audience),
        Some(_) | None => {}
    }
    let subject = claims.get("sub").and_then(Value::as_str);
    let subject = subject.filter(|text| (1..=SUBJECT_BYTES_MAX).contains(&text.len()));
    Ok(ValidToken {
        subject: subject.ok_or(TokenFault::Subject)?.to_owned(),
        roles: roles(claims, &rules.role_claim)?,
        from,
        until,
    })
}

/// The roles: a list of texts, or one text with spaces between them, as OAuth writes scopes (RFC 8693 section 4.2).
fn roles(claims: &Map<String, Value>, claim: &str) -> Result<Vec<String>, TokenFault> {
    let found = match claim.strip_prefix('/') {
        Some(path) => {
            let mut names = path
                .split('/')
                .map(|name| name.replace("~1", "/").replace("~0", "~"));
            let first = names.next().and_then(|name| claims.get(&name));
            names.fold(first, |value, name| value?.get(&name))
        }
        None => claims.get(claim),
    };
    match found {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(text.split_whitespace().map(str::to_owned).collect()),
        Some(Value::Array(items)) => {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().ok_or(TokenFault::Claim)
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => Err(TokenFault::Claim),
    }
}
