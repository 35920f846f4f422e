//! `perennial import`: a file is read row by row on one thread, while another sends what was read before.

use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use super::format::{Format, ReadFault, Row, RowSink, too_long};
use super::import_state::{ImportState, ImportSubject, StateFault};
use super::meter::Meter;
use super::shipping::{SeenIds, Shipment, Shipper};
use super::{Named, database, is_stream, ndjson, records_path, table};
use crate::admin::{Catalogue, PARCEL_BYTES, PARCEL_LINES, ParcelDone};
use crate::cli::admin_client::{AdminClient, ClientError};
use crate::cli::{Exit, complain, print, say};
use crate::num::as_u64;

const READ_BYTES: usize = 256 * 1024;

/// The command line of `perennial import`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ImportArgs {
    /// The file, or - for stdin, and before it the resource; a db.json needs none: its arrays are named like resources
    #[arg(value_name = "[RESOURCE] FILE", num_args = 1..=2, required = true)]
    words: Vec<String>,
    /// The format [default: by the file's ending: .ndjson, .jsonl, .csv, .json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Replace the records that exist; otherwise they are reported
    #[arg(long)]
    upsert: bool,
    /// Change nothing, and report what is wrong
    #[arg(long)]
    dry_run: bool,
}

/// The reason why an import did not begin or did not end.
#[derive(Debug, thiserror::Error)]
enum ImportFault {
    #[error("{0}")]
    Usage(&'static str),
    #[error("{0} can't be read")]
    Unreadable(String, #[source] io::Error),
    #[error("{0} {1}")]
    File(String, #[source] ReadFault),
    #[error(transparent)]
    State(#[from] StateFault),
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It was told.
    #[error("the resource is not declared")]
    Undeclared,
}

impl ImportFault {
    fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Unreadable(..) | Self::File(_, ReadFault::Io(_)) => Exit::Failed,
            Self::Client(error) if error.is_passing() => Exit::Unavailable,
            Self::File(..) | Self::State(_) | Self::Client(_) | Self::Undeclared => Exit::Data,
        }
    }
}

impl ImportArgs {
    pub(in crate::cli) fn run(&self, admin: &str) -> Exit {
        match self.import(admin) {
            Ok(exit) => exit,
            Err(fault @ ImportFault::Undeclared) => fault.exit(),
            Err(fault) => complain(&fault, fault.exit()),
        }
    }

    fn import(&self, admin: &str) -> Result<Exit, ImportFault> {
        let Named { resource, file } = Named::of(&self.words);
        let usage = ImportFault::Usage;
        let file = file.ok_or(usage("name a file, or - for stdin"))?;
        let format = self.format.or_else(|| Format::of(&file));
        let format = format.ok_or(usage("say --format ndjson, csv or db.json"))?;
        if resource.is_none() && format != Format::Database {
            return Err(usage("name the resource: perennial import RESOURCE FILE"));
        }
        let client = AdminClient::new(admin);
        let catalogue: Catalogue = client.get("/records")?.json()?;
        if let Some(name) = &resource
            && !catalogue.resources.contains_key(name)
        {
            say(undeclared(name, "the resource", ""));
            return Err(ImportFault::Undeclared);
        }
        let job = Job {
            args: self,
            client: &client,
            catalogue: &catalogue,
            resource: resource.as_deref(),
            format,
            file: &file,
        };
        job.run()
    }
}

/// An import that is wanted.
struct Job<'a> {
    args: &'a ImportArgs,
    client: &'a AdminClient,
    catalogue: &'a Catalogue,
    resource: Option<&'a str>,
    format: Format,
    file: &'a Path,
}

impl Job<'_> {
    fn run(&self) -> Result<Exit, ImportFault> {
        let name = self.file.display().to_string();
        let unreadable = |error| ImportFault::Unreadable(name.clone(), error);
        let (source, subject) = self.open().map_err(unreadable)?;
        let total = subject.bytes;
        let (state, state_file) = self.state(subject)?;
        let read = Arc::new(AtomicU64::new(0));
        let counted = CountedRead {
            inner: source,
            read: Arc::clone(&read),
        };
        let mut input = BufReader::with_capacity(READ_BYTES, counted);
        let shipper = Shipper {
            client: self.client,
            unsure: state_file.as_ref().is_some_and(|file| file.exists()),
            state_file: state_file.clone(),
            seen: self.args.dry_run.then(SeenIds::default),
            name: name.clone(),
            meter: Meter::new(&name, (total > 0).then_some(total)),
            read,
            state,
        };
        let rows = shipper.state.rows;
        if rows > 0 {
            say(format_args!("{name}: goes on after {rows} records"));
        }
        let (read, state) = self.transfer(&mut input, shipper);
        let state = state?;
        let (left_out, found) = match read {
            Ok(told) => told,
            Err(fault) => {
                self.summary(&name, &state, false);
                return Err(ImportFault::File(name, fault));
            }
        };
        if let Some(path) = state_file {
            // All of it was answered; without its state the same command begins again.
            drop(fs::remove_file(path));
        }
        if !found {
            let what = self.resource.map_or_else(
                || "no array".to_owned(),
                |name| format!("no array named {name}"),
            );
            say(format_args!("perennial: {name} has {what}"));
        }
        Ok(self.summary(&name, &state, left_out == 0 && found))
    }

    /// Reads all rows and sends them. Returns how many members of a `db.json` were left out, and whether there was something
    /// to import; and how far it came.
    fn transfer(
        &self,
        input: &mut dyn io::BufRead,
        shipper: Shipper<'_>,
    ) -> (
        Result<(u64, bool), ReadFault>,
        Result<ImportState, ClientError>,
    ) {
        let (name, skip) = (shipper.name.clone(), shipper.state.rows);
        let (sender, receiver) = sync_channel(1);
        std::thread::scope(|threads| {
            let shipping = threads.spawn(|| shipper.run(receiver));
            let mut importer = Importer {
                catalogue: self.catalogue,
                name: &name,
                skip,
                next: Shipment {
                    resource: self.resource.unwrap_or_default().to_owned(),
                    ..Shipment::default()
                },
                sender,
                left_out: 0,
                declared: true,
                found: self.format != Format::Database,
            };
            let read = self.read(input, &mut importer);
            // What came before a fault of the file goes in.
            let flushed = importer.flush();
            let read = read.and(flushed);
            let told = (importer.left_out, importer.found);
            // The other thread ends when nothing more can come.
            drop(importer);
            let state = shipping.join();
            let state = state.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (read.map(|()| told), state)
        })
    }

    fn summary(&self, name: &str, state: &ImportState, whole: bool) -> Exit {
        let (created, replaced, refused) = (state.created, state.replaced, state.refused);
        let verb = if self.args.dry_run {
            "could be imported"
        } else {
            "imported"
        };
        let printed = print(&format!(
            "{name}: {} records {verb}, {replaced} of them replaced others; {refused} refused\n",
            created + replaced
        ));
        if refused > 0 || !whole {
            Exit::Data
        } else {
            printed
        }
    }

    /// The file without its byte order mark, and what it is.
    fn open(&self) -> io::Result<(Box<dyn Read>, ImportSubject)> {
        let format = format!("{:?}", self.format);
        let resource = self.resource.map(str::to_owned);
        let upsert = self.args.upsert;
        let (mut source, subject): (Box<dyn Read>, _) = if is_stream(self.file) {
            let subject = ImportSubject {
                bytes: 0,
                modified_ns: 0,
                resource,
                format,
                upsert,
            };
            (Box::new(io::stdin()), subject)
        } else {
            let file = File::open(self.file)?;
            let subject = ImportSubject::of(&file, resource, format, upsert)?;
            (Box::new(file), subject)
        };
        let mut begin = Vec::new();
        source.by_ref().take(3).read_to_end(&mut begin)?;
        if begin == b"\xef\xbb\xbf" {
            begin.clear();
        }
        Ok((Box::new(Cursor::new(begin).chain(source)), subject))
    }

    /// The state of an import that goes on, or a new one, and the file for it.
    fn state(
        &self,
        subject: ImportSubject,
    ) -> Result<(ImportState, Option<std::path::PathBuf>), ImportFault> {
        let import = uuid::Uuid::now_v7();
        let keeps = !self.args.dry_run && !is_stream(self.file);
        let path = keeps.then(|| ImportState::path(self.file));
        let found = match &path {
            Some(path) => ImportState::load(path)?,
            None => None,
        };
        let Some(any) = self.catalogue.resources.keys().next() else {
            return Ok((ImportState::new(subject, import, 0), None));
        };
        let any = format!("{}?import={import}&first=0", records_path(any));
        let now: ParcelDone = self.client.post(&any, b"")?.json()?;
        let now = now.change.unwrap_or(0);
        match (found, path) {
            (Some(state), Some(path)) => {
                state.goes_on(&subject, now, &path)?;
                Ok((state, Some(path)))
            }
            (_, path) => Ok((ImportState::new(subject, import, now), path)),
        }
    }

    fn read(
        &self,
        input: &mut dyn io::BufRead,
        importer: &mut Importer<'_>,
    ) -> Result<(), ReadFault> {
        let record_bytes = self.catalogue.record_bytes;
        match self.format {
            Format::Ndjson => ndjson::read(input, record_bytes, importer),
            Format::Csv => {
                let resource = self.resource.unwrap_or_default();
                let fields = self.catalogue.resources.get(resource);
                let fields = fields.and_then(|fields| fields.as_deref());
                table::read(input, record_bytes, fields, importer)
            }
            Format::Database => {
                // An array that is all of the file has no name of its own.
                importer.found |= self.resource.is_some();
                database::read(input, record_bytes, self.resource, importer)
            }
        }
    }
}

/// Makes shipments of rows.
struct Importer<'a> {
    catalogue: &'a Catalogue,
    name: &'a str,
    /// The rows at the beginning that were answered before.
    skip: u64,
    next: Shipment,
    sender: SyncSender<Shipment>,
    /// The members of a `db.json` that can't be imported.
    left_out: u64,
    /// Whether the rows are of a resource that there is.
    declared: bool,
    /// Whether there was something to import.
    found: bool,
}

impl Importer<'_> {
    /// Sends what there is, if there is something.
    fn flush(&mut self) -> Result<(), ReadFault> {
        if self.next.lines.is_empty() {
            return Ok(());
        }
        let resource = self.next.resource.clone();
        let next = Shipment {
            resource,
            ..Shipment::default()
        };
        let full = std::mem::replace(&mut self.next, next);
        self.sender.send(full).map_err(|_| ReadFault::Stopped)
    }
}

impl RowSink for Importer<'_> {
    fn begin(&mut self, array: &str, first: &str) -> Result<(), ReadFault> {
        self.flush()?;
        array.clone_into(&mut self.next.resource);
        self.declared = self.catalogue.resources.contains_key(array);
        self.found |= self.declared;
        if !self.declared {
            self.left_out += 1;
            let what = format!("{}: the array", self.name);
            say(undeclared(array, &what, first));
        }
        Ok(())
    }

    fn no_array(&mut self, member: &str) {
        self.left_out += 1;
        let name = self.name;
        say(format_args!(
            "{name}: {member} is no array of records, and is left out"
        ));
    }

    fn row(&mut self, line: u64, row: Row) -> Result<(), ReadFault> {
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(());
        }
        let next = &mut self.next;
        match row {
            // It is counted, so that an import that goes on finds its place, whatever is declared by then.
            Ok(_) if !self.declared => {}
            Ok(text) if text.len() > self.catalogue.record_bytes => {
                let fault = too_long(self.catalogue.record_bytes);
                next.faults.push((next.lines.len(), vec![fault]));
            }
            Ok(text) => next.body.extend_from_slice(&text),
            Err(fault) => next.faults.push((next.lines.len(), vec![fault])),
        }
        next.body.push(b'\n');
        next.lines.push(line);
        if next.lines.len() == PARCEL_LINES || next.body.len() >= PARCEL_BYTES {
            self.flush()?;
        }
        Ok(())
    }
}

/// Counts the bytes that are read.
struct CountedRead<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for CountedRead<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.fetch_add(as_u64(read), Ordering::Relaxed);
        Ok(read)
    }
}

/// Says that a resource is not declared, and what to write so that it is. `first` is the JSON of its first record.
fn undeclared(name: &str, what: &str, first: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let key = if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        serde_json::Value::from(name).to_string()
    };
    let first: Option<serde_json::Value> = serde_json::from_str(first).ok();
    let counted =
        first.is_some_and(|first| first.get("id").is_some_and(serde_json::Value::is_number));
    let id = if counted { "id = \"sequence\"\n" } else { "" };
    format!(
        "{what} {name} is left out: the running daemon has no resource of this name. Write into its settings, restart it, and import it:\n\n[resource.{key}]\naccess = \"public\"  # for everybody who can connect\n{id}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_declared_is_told_with_its_settings() {
        let told = undeclared("comments", "the array", "{\"id\": 1}");
        assert!(told.starts_with("the array comments is left out"), "{told}");
        assert!(told.ends_with("[resource.comments]\naccess = \"public\"  # for everybody who can connect\nid = \"sequence\"\n"), "{told}");
        let told = undeclared("my things", "the array", "{\"id\": \"x\"}");
        assert!(told.contains("[resource.\"my things\"]"), "{told}");
        assert!(!told.contains("sequence"), "{told}");
    }
}
