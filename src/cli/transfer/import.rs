//! `perennial import`: a file is read row by row on one thread, while another sends what was read before.

use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::sync_channel;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::format::{Format, ReadFault, RowSink};
use super::import_state::{ImportState, ImportSubject, StateFault};
use super::importer::{Comparer, Importer, undeclared};
use super::meter::Meter;
use super::seen_rows::SeenRows;
use super::sending::{ParcelSender, RowParcel, SendingFault};
use super::waiting::WaitingRows;
use super::{Named, database, is_kept, is_stream, ndjson, records_path, table};
use crate::admin::{Catalogue, ParcelDone};
use crate::cli::admin_client::{AdminClient, ClientError};
use crate::cli::{Exit, complain, print, say};
use crate::storage::ReadCounter;

const READ_BYTES: usize = 256 * 1024;

/// Another name of stdin.
const STDIN: &str = "/dev/stdin";

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
    #[error("another import of {0} is under way; wait until it has ended")]
    UnderWay(String),
    #[error("{0} {1}")]
    File(String, ReadFault),
    #[error(transparent)]
    State(#[from] StateFault),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Sending(#[from] SendingFault),
    /// It was told.
    #[error("the resource is not declared")]
    Undeclared,
}

impl ImportFault {
    fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Unreadable(..) | Self::UnderWay(_) | Self::File(_, ReadFault::Io(_)) => {
                Exit::Failed
            }
            Self::Client(error) | Self::Sending(SendingFault::Client(error))
                if error.is_passing() =>
            {
                Exit::Unavailable
            }
            Self::File(..)
            | Self::State(_)
            | Self::Client(_)
            | Self::Sending(_)
            | Self::Undeclared => Exit::Data,
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
        let Named { resource, file } = Named::of(&self.words, STDIN);
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

/// The end of an import.
struct Transferred {
    /// The number of members of a `db.json` that were left out, and whether there was something to import.
    read: Result<(u64, bool), ReadFault>,
    state: ImportState,
    /// The fault by which not all that was read was sent, if there was one.
    sent: Result<(), SendingFault>,
}

/// Removes the state if the next run has no use for it, and else says what it is good for.
fn leave(name: &str, state: &ImportState, path: &Path, whole: bool) {
    let missing = state.rows_in.missing();
    if state.is_without_trace() || whole && missing == 0 {
        drop(fs::remove_file(path));
    } else if whole {
        let remedy = match (state.refused, state.left_out) {
            (_, 0) => "mend them in place",
            (0, _) => "declare their resources",
            (_, _) => "mend those that were refused in place, declare the resources of the others",
        };
        let path = path.display();
        say(format_args!(
            "{name}: {missing} records are not in: {remedy} and give the same command again, which sends only those ({path} says which)"
        ));
    }
}

impl Job<'_> {
    fn run(&self) -> Result<Exit, ImportFault> {
        let name = self.file.display().to_string();
        let unreadable = |error| ImportFault::Unreadable(name.clone(), error);
        let (source, subject) = self.open().map_err(unreadable)?;
        let _alone = self.alone(&name)?;
        let total = subject.bytes;
        let (state, state_file) = self.state(subject)?;
        let read = Arc::new(AtomicU64::new(0));
        let counted = ReadCounter {
            from: source,
            counter: Arc::clone(&read),
        };
        let mut input = BufReader::with_capacity(READ_BYTES, counted);
        let sender = ParcelSender {
            client: self.client,
            unsure: state.sent.is_some(),
            state_file: state_file.clone(),
            seen: self
                .args
                .dry_run
                .then(|| SeenRows::new(&self.catalogue.unique)),
            waiting: WaitingRows::default(),
            again: 0,
            name: name.clone(),
            meter: Meter::new(&name, (total > 0).then_some(total)),
            read,
            state,
        };
        let before = sender.state.rows_in.count();
        if before > 0 {
            say(format_args!("{name}: goes on, {before} records are in"));
        }
        let Transferred { read, state, sent } = self.transfer(&mut input, sender);
        if let Some(path) = &state_file {
            leave(&name, &state, path, read.is_ok() && sent.is_ok());
        }
        sent?;
        let (left_out, found) = match read {
            Ok(told) => told,
            Err(fault) => {
                self.summary(&name, &state, false);
                return Err(ImportFault::File(name, fault));
            }
        };
        if !found {
            let what = self.resource.map_or_else(
                || "no array".to_owned(),
                |name| format!("no array named {name}"),
            );
            say(format_args!("perennial: {name} has {what}"));
        }
        Ok(self.summary(&name, &state, left_out == 0 && found))
    }

    /// Reads all rows and sends them.
    fn transfer(&self, input: &mut dyn io::BufRead, parcels: ParcelSender<'_>) -> Transferred {
        let (name, from) = (parcels.name.clone(), parcels.state.rows);
        let rows_in = parcels.state.rows_in.clone();
        let (sender, receiver) = sync_channel(1);
        std::thread::scope(|threads| {
            let sending = threads.spawn(|| parcels.run(receiver));
            let mut importer = Importer {
                catalogue: self.catalogue,
                name: &name,
                row: 0,
                from,
                rows_in,
                next: RowParcel {
                    resource: self.resource.unwrap_or_default().to_owned(),
                    ..RowParcel::default()
                },
                wrong_rows: 0,
                sender,
                left_out: 0,
                declared: true,
                found: self.format != Format::Database,
            };
            // An array that is all of the file has no name of its own.
            importer.found |= self.resource.is_some();
            let read = self.read(input, &mut importer);
            // What came before a fault of the file goes in.
            let flushed = importer.flush();
            let read = read.and(flushed);
            let told = (importer.left_out, importer.found);
            // The other thread ends when nothing more can come.
            drop(importer);
            let joined = sending.join();
            let (state, sent) = joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let read = read.map(|()| told);
            Transferred { read, state, sent }
        })
    }

    fn summary(&self, name: &str, state: &ImportState, whole: bool) -> Exit {
        let ImportState {
            created,
            replaced,
            refused,
            left_out,
            ..
        } = *state;
        let verb = if self.args.dry_run {
            "could be imported"
        } else {
            "imported"
        };
        let others = if left_out > 0 {
            format!(", {left_out} left out")
        } else {
            String::new()
        };
        let printed = print(&format!(
            "{name}: {} records {verb}, {replaced} of them replaced others; {refused} refused{others}\n",
            created + replaced
        ));
        if refused > 0 || !whole {
            Exit::Data
        } else {
            printed
        }
    }

    /// Locks the file as long as what is returned is held. Two imports of it at once would bring rows without an id in twice.
    fn alone(&self, name: &str) -> Result<Option<File>, ImportFault> {
        if self.args.dry_run || !is_kept(self.file) {
            return Ok(None);
        }
        let unreadable = |error| ImportFault::Unreadable(name.to_owned(), error);
        let file = File::open(self.file).map_err(unreadable)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(ImportFault::UnderWay(name.to_owned())),
            // Not every file system has locks.
            Ok(()) | Err(_) => Ok(Some(file)),
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
        let keeps = !self.args.dry_run && is_kept(self.file);
        let path = keeps.then(|| ImportState::path(self.file));
        let found = match &path {
            Some(path) => ImportState::load(path)?,
            None => None,
        };
        let store = self.catalogue.store.clone();
        let Some(any) = self.catalogue.resources.keys().next() else {
            return Ok((ImportState::new(subject, import, store, 0), None));
        };
        let any = format!("{}?import={import}&first=0", records_path(any));
        let now: ParcelDone = self.client.post(&any, b"")?.json()?;
        let now = now.change.unwrap_or(0);
        match (found, path) {
            (Some(state), Some(path)) => {
                if state.goes_on(&subject, (&store, now), &path)? {
                    self.compare(&state, &path)?;
                }
                Ok((state.again(subject), Some(path)))
            }
            (_, path) => Ok((ImportState::new(subject, import, store, now), path)),
        }
    }

    /// Looks whether the rows that are in, or may be, are still what they were in another version of the file.
    fn compare(&self, state: &ImportState, path: &Path) -> Result<(), ImportFault> {
        let name = self.file.display().to_string();
        let (source, _) = self
            .open()
            .map_err(|error| ImportFault::Unreadable(name.clone(), error))?;
        let mut comparer = Comparer(state.check());
        let mut input = BufReader::with_capacity(READ_BYTES, source);
        match self.read(&mut input, &mut comparer) {
            Ok(()) | Err(ReadFault::Stopped) => {}
            Err(fault) => return Err(ImportFault::File(name, fault)),
        }
        Ok(state.compared(&comparer.0, path)?)
    }

    fn read(&self, input: &mut dyn io::BufRead, sink: &mut impl RowSink) -> Result<(), ReadFault> {
        let record_bytes = self.catalogue.record_bytes;
        match self.format {
            Format::Ndjson => ndjson::read(input, record_bytes, sink),
            Format::Csv => {
                let resource = self.resource.unwrap_or_default();
                let fields = self.catalogue.resources.get(resource);
                let fields = fields.and_then(|fields| fields.as_deref());
                table::read(input, record_bytes, fields, sink)
            }
            Format::Database => database::read(input, record_bytes, self.resource, sink),
        }
    }
}
