//! A parcel: lines of JSON, and what its sender says of them. Pure.

use std::cell::Cell;

use bytes::Bytes;

use crate::num::as_u64;
use crate::record::{
    Absent, BodyError, CommandError, JsonObject, NewRecordError, NewValues, RecordId,
    RuleViolation, Schema, WriteCommand,
};
use crate::settings::ResourceSettings;
use crate::storage::BATCH_COMMANDS_MAX;
use crate::supervision::MessageId;

/// The length of the lines of a batch at which the next batch begins.
const BATCH_BYTES: usize = 512 * 1024;
/// The bits of a UUID of version 7 that are counted up (its `rand_b`).
const COUNTED: u128 = (1 << 62) - 1;
/// The lowest bit of a UUID in which the UUIDs of one line differ.
const MADE_AT: u32 = 40;

/// The query of a parcel: `import=UUID&first=N`, and as they are needed `again=CHANGE`, `upsert` and `dry_run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parcel {
    /// A UUID of version 7 that the sender makes for each import.
    pub(super) import: uuid::Uuid,
    /// The number of its first line among all of the import, from 0 on.
    pub(super) first: u64,
    /// It may have been taken already, after this change.
    pub(super) again: Option<u64>,
    /// Whether records replace those that exist.
    pub(super) upsert: bool,
    /// Whether nothing may be changed.
    pub(super) dry_run: bool,
    /// The longest record that is taken: the limit when the parcel came.
    pub(super) record_bytes: usize,
}

/// A line that is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ParcelLine<'a> {
    /// Its position in the parcel, from 0 on.
    pub(super) at: usize,
    pub(super) text: &'a [u8],
}

impl Parcel {
    /// Reads a query. The error is for its sender.
    pub(super) fn parse(query: &str, record_bytes: usize) -> Result<Self, String> {
        let (mut import, mut first, mut again) = (None, None, None);
        let (mut upsert, mut dry_run) = (false, false);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let wrong = || format!("{name} can't be {value:?}");
            let number = || value.parse::<u64>().map(Some).map_err(|_| wrong());
            let yes_or_no = || match value {
                "" | "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(wrong()),
            };
            match name {
                "import" => import = Some(value.parse().map_err(|_| wrong())?),
                "first" => first = number()?,
                "again" => again = number()?,
                "upsert" => upsert = yes_or_no()?,
                "dry_run" => dry_run = yes_or_no()?,
                _ => return Err(format!("{name} means nothing here")),
            }
        }
        let (Some(import), Some(first)) = (import, first) else {
            return Err("import=UUID and first=N must be there: use perennial import".to_owned());
        };
        Ok(Self {
            import,
            first,
            again,
            upsert,
            dry_run,
            record_bytes,
        })
    }

    /// The UUID of a line: the same at each attempt, and in the order of the lines.
    fn uuid(&self, at: usize) -> uuid::Uuid {
        let import = self.import.as_u128();
        let n = u128::from(self.first.saturating_add(as_u64(at)));
        uuid::Uuid::from_u128((import & !COUNTED) | (import.wrapping_add(n) & COUNTED))
    }

    /// The time when the import began, in milliseconds since 1970.
    fn begun_ms(&self) -> u64 {
        let begun = self.import.get_timestamp();
        begun.map_or(0, |begun| {
            let (seconds, nanos) = begun.to_unix();
            seconds * 1000 + u64::from(nanos / 1_000_000)
        })
    }

    /// The id that the changes of a batch have, whose first line is at `at`.
    pub(super) fn origin(&self, at: usize) -> MessageId {
        MessageId(self.uuid(at).as_u128())
    }

    /// The command that brings the record of a line in, or all that is wrong with it.
    pub(super) fn command(
        &self,
        line: &ParcelLine<'_>,
        settings: &ResourceSettings,
    ) -> Result<WriteCommand, Vec<String>> {
        let bytes_max = self.record_bytes;
        if line.text.len() > bytes_max {
            let fault = format!("a record may have {bytes_max} bytes (limits.body)");
            return Err(vec![fault]);
        }
        let object = JsonObject::read(line.text).map_err(|error| {
            vec![match error {
                BodyError::Syntax { column, reason, .. } => {
                    format!("not valid JSON at column {column}: {reason}")
                }
                BodyError::Empty | BodyError::NotAnObject { .. } | BodyError::Number { .. } => {
                    error.to_string()
                }
            }]
        })?;
        // The same at each attempt, so that what an earlier one brought is found.
        let made = Cell::new(0);
        let uuid = || {
            let n = made.replace(made.get() + 1);
            uuid::Uuid::from_u128(self.uuid(line.at).as_u128() ^ (n << MADE_AT))
        };
        let new = NewValues {
            now_ms: self.begun_ms(),
            uuid: &uuid,
        };
        let command = WriteCommand::create(object, settings.ids, &settings.schema, &new);
        match command {
            Ok(WriteCommand::Create { id, json }) if self.upsert => {
                let absent = Absent::Create;
                Ok(WriteCommand::Replace { id, json, absent })
            }
            Ok(command) => Ok(command),
            Err(NewRecordError::Id(error)) => Err(vec![error.to_string()]),
            Err(NewRecordError::Invalid(violations)) => Err(faults(&violations)),
        }
    }
}

/// Whether each command made one of these changes: the id of its record, and the text, where that is known still. Records that
/// the store numbered are found by their texts, and those whose text is not known are taken for the first that are left.
pub(super) fn are_in(
    mut changes: Vec<(RecordId, Option<Bytes>)>,
    commands: &[WriteCommand],
) -> Vec<bool> {
    let mut are_in = vec![false; commands.len()];
    for by_text in [true, false] {
        changes.retain(|(id, text)| {
            let mut left = commands.iter().zip(&mut are_in);
            let found = left.find(|(command, is_in)| {
                !**is_in
                    && may_have_made(command, id)
                    && (!by_text || has_text(command, text.as_ref()))
            });
            found.map(|(_, is_in)| *is_in = true).is_none()
        });
    }
    are_in
}

fn may_have_made(command: &WriteCommand, changed: &RecordId) -> bool {
    match command {
        WriteCommand::Create { id, .. } | WriteCommand::Replace { id, .. } => id == changed,
        WriteCommand::CreateNumbered { .. } => matches!(changed, RecordId::Number(_)),
        WriteCommand::Patch { .. }
        | WriteCommand::Delete { .. }
        | WriteCommand::Matching { .. } => false,
    }
}

fn has_text(command: &WriteCommand, text: Option<&Bytes>) -> bool {
    let Some(text) = text else {
        return false;
    };
    match command {
        WriteCommand::Create { json, .. } | WriteCommand::Replace { json, .. } => json == text,
        WriteCommand::CreateNumbered { members } => {
            JsonObject::parse(text).is_ok_and(|object| object.without_id() == *members)
        }
        WriteCommand::Patch { .. }
        | WriteCommand::Delete { .. }
        | WriteCommand::Matching { .. } => false,
    }
}

/// All that is wrong with a record that the store refused.
pub(super) fn faults_of_refusal(error: CommandError) -> Vec<String> {
    if let CommandError::Invalid(violations) = &error {
        return faults(violations);
    }
    vec![error.to_string()]
}

/// The resource and the id of each record to which a line refers and that is not there, if nothing else is wrong with it.
pub(super) fn lacking(
    line: &ParcelLine<'_>,
    schema: &Schema,
    error: &CommandError,
) -> Vec<(String, String)> {
    let CommandError::Invalid(violations) = error else {
        return Vec::new();
    };
    let Ok(object) = JsonObject::parse(line.text) else {
        return Vec::new();
    };
    let missing = |violation: &RuleViolation| {
        let field = violation.field();
        let mut references = schema.references().filter(|_| violation.is_dangling());
        let (_, reference) = references.find(|(name, _)| *name == field)?;
        let id = reference.id(object.members().get(&*field)?)?;
        Some((reference.to.clone(), id.to_string()))
    };
    let all: Option<Vec<_>> = violations.iter().map(missing).collect();
    all.unwrap_or_default()
}

fn faults(violations: &[RuleViolation]) -> Vec<String> {
    let fault = |violation: &RuleViolation| format!("{} {}", violation.field(), violation.detail);
    violations.iter().map(fault).collect()
}

/// The lines that are not empty, in batches. The same text is always cut in the same way.
pub(super) fn batches(text: &[u8]) -> Vec<Vec<ParcelLine<'_>>> {
    let (mut batches, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    for (at, text) in lines.filter(|(_, text)| !text.is_empty()) {
        batch.push(ParcelLine { at, text });
        bytes += text.len();
        if batch.len() == BATCH_COMMANDS_MAX || bytes >= BATCH_BYTES {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::IdScheme;

    const IMPORT: &str = "01a210f2-6a46-7604-bfff-fffffffffffe";

    fn parcel(more: &str) -> Parcel {
        Parcel::parse(&format!("import={IMPORT}&first=0{more}"), 50).unwrap()
    }

    #[test]
    fn lines_without_an_id_have_ids_that_are_the_same_again_and_in_order() {
        let uuid = |first: u64, at: usize| {
            let parcel = Parcel::parse(&format!("import={IMPORT}&first={first}"), 50).unwrap();
            parcel.uuid(at)
        };
        assert_eq!(uuid(0, 0).to_string(), IMPORT);
        assert!(uuid(0, 0) < uuid(0, 1));
        assert_eq!(uuid(7, 0), uuid(0, 7));
        // Past the last value they go round, and change nothing of the version and the time.
        assert_eq!(
            uuid(2, 0).to_string(),
            "01a210f2-6a46-7604-8000-000000000000"
        );
        assert_eq!(uuid(2, 0).get_version_num(), 7);
    }

    #[test]
    fn a_query_says_all_or_is_refused() {
        let all = parcel("&again=5&upsert&dry_run=true");
        assert_eq!((all.again, all.upsert, all.dry_run), (Some(5), true, true));
        for wrong in [
            "",
            "first=1",
            "import=x&first=1",
            "first=-1",
            "colour=red",
            "upsert=no",
        ] {
            assert!(Parcel::parse(wrong, 50).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_text_is_cut_by_lines_and_by_bytes() {
        let text = "{}\n".repeat(300);
        let cut: Vec<_> = batches(text.as_bytes()).iter().map(Vec::len).collect();
        assert_eq!(cut, [128, 128, 44]);
        let long = "x".repeat(BATCH_BYTES);
        let text = format!("a\n\n{long}\nb");
        let cut = batches(text.as_bytes());
        let places: Vec<Vec<_>> = cut
            .iter()
            .map(|lines| lines.iter().map(|line| line.at).collect())
            .collect();
        assert_eq!(places, [vec![0, 2], vec![3]]);
        assert!(batches(b"").is_empty() && batches(b"\n\n").is_empty());
    }

    #[test]
    fn a_line_is_a_command_or_has_faults() {
        let mut settings = ResourceSettings::at("/books");
        let mut of = |text: &str, more: &str, ids: IdScheme| {
            settings.ids = ids;
            let line = ParcelLine {
                at: 1,
                text: text.as_bytes(),
            };
            parcel(more).command(&line, &settings)
        };
        let id = RecordId::from_uuid(parcel("").uuid(1));
        let json = Bytes::from(format!("{{\"id\":\"{id}\",\"a\":1}}"));
        let create = WriteCommand::Create {
            id: id.clone(),
            json: json.clone(),
        };
        assert_eq!(of("{\"a\":1}", "", IdScheme::Uuid), Ok(create));
        let replace = WriteCommand::Replace {
            id,
            json,
            absent: Absent::Create,
        };
        assert_eq!(of("{\"a\":1}", "&upsert", IdScheme::Uuid), Ok(replace));
        let members = ",\"a\":1}".to_owned();
        let numbered = WriteCommand::CreateNumbered { members };
        assert_eq!(of("{\"a\":1}", "&upsert", IdScheme::Sequence), Ok(numbered));
        for (text, ids, fault) in [
            (
                "{\"a\":1,}",
                IdScheme::Uuid,
                "not valid JSON at column 8: trailing comma",
            ),
            (
                "[]",
                IdScheme::Uuid,
                "a record must be a JSON object, this is an array",
            ),
            (
                "{}",
                IdScheme::Client,
                "id must be there: the client gives the ids of this resource",
            ),
            (
                "{\"id\":\"_\"}",
                IdScheme::Uuid,
                "an id must not begin with _ or .",
            ),
        ] {
            assert_eq!(of(text, "", ids), Err(vec![fault.to_owned()]), "{text}");
        }
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(50));
        let fault = "a record may have 50 bytes (limits.body)".to_owned();
        assert_eq!(of(&long, "", IdScheme::Uuid), Err(vec![fault]));
    }

    #[test]
    fn what_is_in_is_told_from_what_was_refused() {
        let number = RecordId::Number;
        let members = |n: u64| format!(",\"n\":{n}}}");
        let text = |id: u64, n: u64| Bytes::from(format!("{{\"id\":{id},\"n\":{n}}}"));
        let numbered = |n| WriteCommand::CreateNumbered {
            members: members(n),
        };
        let create = |id, n| WriteCommand::Create {
            id: number(id),
            json: text(id, n),
        };
        let replace = |id, n| WriteCommand::Replace {
            id: number(id),
            json: text(id, n),
            absent: Absent::Create,
        };
        let known = |id, n| (number(id), Some(text(id, n)));
        let unknown = |id| (number(id), None);
        for (changes, commands, expected) in [
            (vec![], vec![numbered(1), create(2, 2)], vec![false, false]),
            (
                vec![known(5, 2)],
                vec![numbered(1), numbered(2), numbered(2)],
                vec![false, true, false],
            ),
            // The id was given to a record without one.
            (
                vec![known(1, 1)],
                vec![numbered(1), create(1, 2)],
                vec![true, false],
            ),
            (
                vec![known(1, 1)],
                vec![create(1, 2), numbered(1)],
                vec![false, true],
            ),
            (
                vec![unknown(1)],
                vec![create(1, 1), create(1, 1)],
                vec![true, false],
            ),
            (
                vec![known(1, 2)],
                vec![replace(1, 1), replace(1, 2)],
                vec![false, true],
            ),
            (
                vec![unknown(1), known(1, 2)],
                vec![replace(1, 1), replace(1, 2)],
                vec![true, true],
            ),
            (
                vec![unknown(6), known(7, 1)],
                vec![numbered(1), numbered(2), numbered(3)],
                vec![true, true, false],
            ),
        ] {
            assert_eq!(
                are_in(changes.clone(), &commands),
                expected,
                "{changes:?}, {commands:?}"
            );
        }
    }
}
