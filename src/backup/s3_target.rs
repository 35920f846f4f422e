//! Backups in a bucket of a server that speaks the protocol of Amazon S3.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path as Key;
use object_store::{
    ClientOptions, MultipartId, ObjectStore as _, ObjectStoreExt as _, PutPayload, RetryConfig,
};

use super::name::BackupName;
use super::target::{BackupTarget, Found, TargetError, UNFINISHED, Unfinished, VERIFIED};
use crate::num::as_u64;
use crate::settings::BackupSettings;

/// The bytes that are sent, or asked for, at once. A server takes 10 000 parts: backups have 160 GB at most.
const PART_BYTES: usize = 16 << 20;
/// A part must be sent within this time.
const REQUEST_LIMIT: Duration = Duration::from_secs(300);
/// The longest time without a byte.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// A request is repeated this often after an error of the network or the server; then the backup fails, and is tried
/// again as a whole.
const REPEATS: usize = 3;
const REPEAT_LIMIT: Duration = Duration::from_secs(60);

/// A bucket.
pub(super) struct S3Target {
    runtime: tokio::runtime::Runtime,
    client: AmazonS3,
    /// The beginning of all names, with a slash at its end unless it is empty.
    prefix: String,
    /// The bucket, for people.
    shown: String,
}

/// The two parts of the credentials, and a token if they are temporary.
#[derive(Clone)]
struct Credentials {
    id: String,
    secret: String,
    token: Option<String>,
}

impl Credentials {
    fn find(file: Option<&Path>) -> Result<Self, TargetError> {
        let Some(path) = file else {
            let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
            let read = |name: &str| variable(name.to_ascii_uppercase());
            return Self::from(read).ok_or(TargetError::NoCredentials);
        };
        let text = fs::read_to_string(path).map_err(|source| TargetError::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::in_text(&text).ok_or_else(|| TargetError::NoCredentialsIn(path.to_owned()))
    }

    fn from(read: impl Fn(&str) -> Option<String>) -> Option<Self> {
        Some(Self {
            id: read("aws_access_key_id")?,
            secret: read("aws_secret_access_key")?,
            token: read("aws_session_token"),
        })
    }

    /// Those of a file as the tools of Amazon write it, of its first section.
    fn in_text(text: &str) -> Option<Self> {
        Self::from(|name| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once('=')?;
                let is = key.trim().eq_ignore_ascii_case(name);
                is.then(|| value.trim().trim_matches('"').to_owned())
            })
        })
    }
}

impl S3Target {
    pub(super) fn new(
        bucket: &str,
        prefix: &str,
        settings: &BackupSettings,
    ) -> Result<Self, TargetError> {
        let credentials = Credentials::find(settings.credentials_file.as_deref())?;
        // If another part of the program has chosen one already, that is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = ClientOptions::new()
            .with_timeout(REQUEST_LIMIT)
            .with_read_timeout(READ_LIMIT)
            .with_allow_http(true);
        let retry = RetryConfig {
            max_retries: REPEATS,
            retry_timeout: REPEAT_LIMIT,
            ..RetryConfig::default()
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&settings.region)
            .with_access_key_id(credentials.id)
            .with_secret_access_key(credentials.secret)
            .with_disable_bulk_delete(true)
            .with_client_options(client)
            .with_retry(retry);
        if let Some(token) = credentials.token {
            builder = builder.with_token(token);
        }
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let shown = format!("s3://{bucket}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|source| TargetError::Io {
            path: shown.clone().into(),
            source,
        })?;
        let client = builder.build();
        let client = client.map_err(|error| server_error(shown.clone(), error))?;
        let prefix = match prefix {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(Self {
            runtime,
            client,
            prefix,
            shown,
        })
    }

    fn key(&self, name: BackupName, ending: &str) -> Key {
        Key::from(format!("{}{name}{ending}", self.prefix))
    }

    /// Waits for the answer to a request about an object.
    fn ask<T>(
        &self,
        key: &Key,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, TargetError> {
        self.runtime
            .block_on(request)
            .map_err(|error| server_error(format!("{}/{key}", self.shown), error))
    }

    /// Removes an object; it may be gone already.
    fn delete(&self, key: &Key) -> Result<(), TargetError> {
        match self.ask(key, self.client.delete(key)) {
            Err(TargetError::Gone { .. }) => Ok(()),
            deleted => deleted,
        }
    }
}

/// The error of a request about an object.
fn server_error(object: String, error: object_store::Error) -> TargetError {
    if let object_store::Error::NotFound { .. } = error {
        return TargetError::Gone { object };
    }
    let error: &(dyn std::error::Error + 'static) = &error;
    let causes = std::iter::successors(Some(error), |error| error.source());
    let cause = causes.last().map(ToString::to_string);
    TargetError::Server {
        object,
        cause: in_short(&cause.unwrap_or_default()).into_owned(),
    }
}

/// The words of a server's answer, without the XML around them.
fn in_short(text: &str) -> Cow<'_, str> {
    let part = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once('<')?.0)
    };
    match (part("Code"), part("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}").into(),
        _ => text.into(),
    }
}

impl BackupTarget for S3Target {
    fn list(&self) -> Result<Found, TargetError> {
        let prefix = Key::from(self.prefix.as_str());
        let listed = self.ask(&prefix, self.client.list_with_delimiter(Some(&prefix)))?;
        let files = listed.objects.into_iter().filter_map(|object| {
            let name = object.location.filename()?.to_owned();
            Some((name, object.size))
        });
        Ok(Found::of(files))
    }

    /// The note with the number of the upload lets the next run remove what a killed one has sent.
    fn begin(&self, name: BackupName) -> Result<Box<dyn Unfinished + '_>, TargetError> {
        let key = self.key(name, "");
        let id = self.ask(&key, self.client.create_multipart(&key))?;
        let upload = S3Upload {
            target: self,
            name,
            key,
            id: id.clone(),
            parts: Vec::new(),
            waiting: Vec::new(),
            finished: false,
        };
        let note = self.key(name, UNFINISHED);
        self.ask(&note, self.client.put(&note, PutPayload::from(id)))?;
        Ok(Box::new(upload))
    }

    fn abort(&self, name: BackupName) -> Result<(), TargetError> {
        let (key, note) = (self.key(name, ""), self.key(name, UNFINISHED));
        let read = async { self.client.get(&note).await?.bytes().await };
        let id = self.ask(&note, read)?;
        let id: MultipartId = String::from_utf8_lossy(&id).into_owned();
        match self.ask(&key, self.client.abort_multipart(&key, &id)) {
            // It was aborted, or finished, and only the note was left.
            Ok(()) | Err(TargetError::Gone { .. }) => self.delete(&note),
            Err(error) => Err(error),
        }
    }

    fn read(&self, name: BackupName) -> Result<Box<dyn Read + '_>, TargetError> {
        let key = self.key(name, "");
        let length = self.ask(&key, self.client.head(&key))?.size;
        Ok(Box::new(S3Read {
            target: self,
            key,
            length,
            asked: 0,
            waiting: Bytes::new(),
        }))
    }

    fn mark_verified(&self, name: BackupName) -> Result<(), TargetError> {
        let mark = self.key(name, VERIFIED);
        let put = self.client.put(&mark, PutPayload::default());
        self.ask(&mark, put).map(drop)
    }

    fn remove(&self, name: BackupName) -> Result<(), TargetError> {
        self.delete(&self.key(name, ""))?;
        self.delete(&self.key(name, VERIFIED))
    }
}

/// An upload in parts. The object is there when it was completed.
struct S3Upload<'a> {
    target: &'a S3Target,
    name: BackupName,
    key: Key,
    id: MultipartId,
    parts: Vec<PartId>,
    /// The bytes that were not sent yet.
    waiting: Vec<u8>,
    finished: bool,
}

impl S3Upload<'_> {
    fn send(&mut self) -> Result<(), TargetError> {
        let (target, number) = (self.target, self.parts.len());
        let part = PutPayload::from(std::mem::take(&mut self.waiting));
        let sent = target.client.put_part(&self.key, &self.id, number, part);
        self.parts.push(target.ask(&self.key, sent)?);
        Ok(())
    }
}

impl Write for S3Upload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PART_BYTES - self.waiting.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.waiting.extend_from_slice(taken);
        if self.waiting.len() == PART_BYTES {
            self.send().map_err(io::Error::other)?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Unfinished for S3Upload<'_> {
    fn finish(mut self: Box<Self>) -> Result<(), TargetError> {
        if !self.waiting.is_empty() {
            self.send()?;
        }
        let (target, parts) = (self.target, std::mem::take(&mut self.parts));
        let complete = target.client.complete_multipart(&self.key, &self.id, parts);
        target.ask(&self.key, complete)?;
        self.finished = true;
        target.delete(&target.key(self.name, UNFINISHED))
    }
}

impl Drop for S3Upload<'_> {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = self.target.abort(self.name)
        {
            tracing::debug!(%error, "what was sent of a backup is left; the next run removes it");
        }
    }
}

/// An object that is read in parts.
struct S3Read<'a> {
    target: &'a S3Target,
    key: Key,
    length: u64,
    asked: u64,
    waiting: Bytes,
}

impl Read for S3Read<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.waiting.is_empty() && self.asked < self.length {
            let end = self.length.min(self.asked + as_u64(PART_BYTES));
            let part = self.target.client.get_range(&self.key, self.asked..end);
            self.waiting = self.target.ask(&self.key, part).map_err(io::Error::other)?;
            self.asked = end;
        }
        let length = into.len().min(self.waiting.len());
        if let Some(into) = into.get_mut(..length) {
            self.waiting.copy_to_slice(into);
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_the_tools_of_amazon_write_them() {
        let text = "[default]\naws_access_key_id = AKIA\naws_secret_access_key=se/cr=et\n";
        let read = Credentials::in_text(text).unwrap();
        assert_eq!(
            (read.id.as_str(), read.secret.as_str()),
            ("AKIA", "se/cr=et")
        );
        assert!(read.token.is_none());
        assert!(Credentials::in_text("aws_access_key_id = AKIA\n").is_none());
    }

    #[test]
    fn the_answer_of_a_server_is_told_in_its_own_words() {
        let xml = "404 Not Found: <?xml?>\n<Error><Code>NoSuchBucket</Code><Message>There is none</Message></Error>";
        assert_eq!(in_short(xml), "NoSuchBucket: There is none");
        assert_eq!(in_short("connection refused"), "connection refused");
    }
}
