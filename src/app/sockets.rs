//! The sockets of the addresses in the settings: bound, or inherited from the service manager.

use std::fmt;
use std::io;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::system::Bound;
use crate::listener::{
    Inherited, OpenTo, SharedListening, SocketError, SocketFile, bind, bind_unix, try_bind,
    try_bind_unix,
};
use crate::settings::{AdminListen, Listen, ServerSettings, Settings};
use crate::wire::Speaks;

/// An address at which clients come in, with all that decides on its sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListenAddress {
    listen: Listen,
    /// As `server.ipv6_only` says, for an address of IPv6.
    ipv6_only: bool,
    open_to: OpenTo,
    pub(super) speaks: Speaks,
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.listen.fmt(f)
    }
}

impl ListenAddress {
    fn new(listen: Listen, server: &ServerSettings, open_to: OpenTo, speaks: Speaks) -> Self {
        let is_ipv6 = matches!(listen, Listen::Tcp(address) if address.is_ipv6());
        Self {
            listen,
            ipv6_only: is_ipv6 && server.ipv6_only,
            open_to,
            speaks,
        }
    }

    /// The public ones.
    pub(super) fn public(settings: &Settings) -> Vec<Self> {
        let http = settings.server.listen.iter();
        let http = http.map(|listen| (listen, Speaks::Http));
        let https = settings.tls.listen.iter();
        let https = https.map(|listen| (listen, Speaks::Https));
        let new = |(listen, speaks): (&Listen, Speaks)| {
            Self::new(listen.clone(), &settings.server, OpenTo::Group, speaks)
        };
        http.chain(https).map(new).collect()
    }

    /// That of the admin listener.
    pub(super) fn admin(server: &ServerSettings) -> Vec<Self> {
        let listen = match &server.admin {
            AdminListen::Tcp(address) => Listen::Tcp(*address),
            AdminListen::Unix(path) => Listen::Unix(path.clone()),
        };
        vec![Self::new(listen, server, OpenTo::Owner, Speaks::Http)]
    }
}

/// An address with its sockets, which listen.
#[derive(Debug)]
pub(super) struct OpenAddress {
    pub(super) address: ListenAddress,
    pub(super) sockets: Vec<Arc<SharedListening>>,
    file: Option<Arc<SocketFile>>,
}

impl OpenAddress {
    /// The URLs at which clients reach it.
    pub(super) fn urls(&self) -> Vec<String> {
        let addresses = self.sockets.iter().filter_map(|socket| socket.address());
        let addresses = addresses.filter_map(Result::ok);
        let scheme = self.address.speaks.scheme();
        let urls = addresses.map(|address| format!("{scheme}://{address}"));
        let file = self.file.as_ref();
        urls.chain(file.map(|file| format!("unix:{}", file.path.display())))
            .collect()
    }

    /// Removes the file of a unix socket, so that no client can connect any more.
    pub(super) fn remove_file(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }
}

/// Opens the sockets of addresses.
#[derive(Debug)]
pub(super) struct SocketOpener {
    inherited: Inherited,
    /// The files of the unix sockets that are open.
    files: Mutex<Vec<Weak<SocketFile>>>,
}

impl SocketOpener {
    /// Has these inherited sockets.
    pub(super) fn new(inherited: Inherited) -> Self {
        Self {
            inherited,
            files: Mutex::default(),
        }
    }

    /// Opens the sockets of all these addresses, public ones and the admin's, or says why some of them can't be had. Some may
    /// take the place of sockets that are `going`.
    pub(super) fn open_both(
        &self,
        public: &[ListenAddress],
        admin: &[ListenAddress],
        going: &[Arc<SharedListening>],
    ) -> Result<(Vec<OpenAddress>, Vec<OpenAddress>), Vec<SocketError>> {
        let mut failed = Vec::new();
        let mut open = |addresses: &[ListenAddress]| -> Vec<_> {
            let opened = addresses
                .iter()
                .map(|address| self.open_one(address, going));
            opened
                .filter_map(|opened| opened.map_err(|error| failed.push(error)).ok())
                .collect()
        };
        let opened = (open(public), open(admin));
        if failed.is_empty() {
            Ok(opened)
        } else {
            Err(failed)
        }
    }

    /// The reasons why sockets of these addresses could not be opened now in the place of those that are `going`. No client
    /// notices, and nothing is changed.
    pub(super) fn faults(
        &self,
        addresses: &[ListenAddress],
        going: &[Arc<SharedListening>],
    ) -> Vec<SocketError> {
        let tried = addresses.iter().map(|address| match &address.listen {
            Listen::Tcp(at) => try_bind(*at, address.ipv6_only, going),
            Listen::Unix(path) => try_bind_unix(path),
            Listen::Inherited(name) => self.inherited.named(name).map(drop),
        });
        tried.filter_map(Result::err).collect()
    }

    fn open_one(
        &self,
        address: &ListenAddress,
        going: &[Arc<SharedListening>],
    ) -> Result<OpenAddress, SocketError> {
        let (sockets, file) = match &address.listen {
            Listen::Tcp(at) => {
                let socket = bind(*at, address.ipv6_only, going)?;
                (vec![SharedListening::new(socket.into(), false)], None)
            }
            Listen::Unix(path) => {
                let (socket, file) = bind_unix(path, address.open_to)?;
                let file = Arc::new(file);
                let mut files = self.files.lock();
                files.retain(|file| file.strong_count() > 0);
                files.push(Arc::downgrade(&file));
                (vec![SharedListening::new(socket.into(), false)], Some(file))
            }
            Listen::Inherited(name) => (self.inherited.named(name)?, None),
        };
        Ok(OpenAddress {
            address: address.clone(),
            sockets,
            file,
        })
    }

    /// Warns of inherited sockets that none of these addresses names.
    pub(super) fn tell_unnamed(&self, addresses: &[ListenAddress]) {
        let is_named = |name: &str| {
            let mut all = addresses.iter();
            all.any(|address| matches!(&address.listen, Listen::Inherited(of) if of == name))
        };
        if let Some(names) = self.inherited.names_besides(is_named) {
            tracing::warn!(%names, "sockets were passed to this process that neither server.listen nor tls.listen names: write systemd:NAME");
        }
    }

    /// Logs if a file of a unix socket was removed by somebody else.
    pub(super) fn look_at_files(&self) {
        self.with_files(SocketFile::look);
    }

    /// Removes the files of all unix sockets.
    pub(super) fn remove_files(&self) {
        self.with_files(SocketFile::remove);
    }

    fn with_files(&self, act: fn(&SocketFile)) {
        let files = self.files.lock();
        let files = files.iter().filter_map(Weak::upgrade);
        files.for_each(|file| act(&file));
    }
}

/// The addresses at which clients reach these sockets.
pub(super) fn bound(public: &[OpenAddress], admin: &[OpenAddress]) -> io::Result<Bound> {
    let addresses = |open: &[OpenAddress], speaks| -> io::Result<Vec<_>> {
        let open = open.iter().filter(|open| open.address.speaks == speaks);
        let sockets = open.flat_map(|open| &open.sockets);
        sockets.filter_map(|socket| socket.address()).collect()
    };
    let files = |open: &[OpenAddress]| -> Vec<_> {
        let files = open.iter().filter_map(|open| open.file.as_ref());
        files.map(|file| file.path.clone()).collect()
    };
    let tcp = addresses(admin, Speaks::Http)?
        .into_iter()
        .map(AdminListen::Tcp);
    let unix = files(admin).into_iter().map(AdminListen::Unix);
    let none = || io::Error::from(io::ErrorKind::AddrNotAvailable);
    Ok(Bound {
        public: addresses(public, Speaks::Http)?,
        tls: addresses(public, Speaks::Https)?,
        unix: files(public),
        admin: tcp.chain(unix).next().ok_or_else(none)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::reload::difference::compare;
    use super::*;
    use crate::settings::Settings;

    fn addresses((listen, ipv6_only): (&[&str], bool)) -> Vec<ListenAddress> {
        let mut settings = Settings::default();
        settings.server.listen = listen.iter().map(|text| text.parse().unwrap()).collect();
        settings.server.ipv6_only = ipv6_only;
        ListenAddress::public(&settings)
    }

    #[test]
    fn only_addresses_whose_sockets_would_be_others_come_and_go() {
        let tcp = "127.0.0.1:1";
        for (old, new, going, missing) in [
            ((&[tcp][..], false), (&[tcp][..], true), &[][..], &[][..]),
            (
                (&[tcp], false),
                (&["unix:/a", tcp, "systemd:http"], false),
                &[],
                &["unix:/a", "systemd:http"],
            ),
            (
                (&["[::]:1", "systemd:http"], false),
                (&["[::]:1", "0.0.0.0:1"], true),
                &["[::]:1", "systemd:http"],
                &["[::]:1", "0.0.0.0:1"],
            ),
            (
                (&["127.0.0.1:0"; 3], false),
                (&["127.0.0.1:0"], false),
                &["127.0.0.1:0"; 2],
                &[],
            ),
        ] {
            let (have, want) = (addresses(old), addresses(new));
            let difference = compare(&have, &want, |one, other| one == other);
            let told = |all: &[ListenAddress], positions: &[usize]| -> Vec<_> {
                positions.iter().map(|at| all[*at].to_string()).collect()
            };
            assert_eq!(told(&have, &difference.surplus), going, "{old:?} {new:?}");
            assert_eq!(told(&want, &difference.missing), missing, "{old:?} {new:?}");
        }
        let settings = Settings::default();
        let admin = ListenAddress::admin(&settings.server);
        let public = ListenAddress::public(&settings);
        assert!(admin.len() == 1 && !public.contains(&admin[0]));
    }

    #[test]
    fn one_that_cannot_be_had_leaves_none_open_and_all_failures_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        let unix = format!("unix:{}", path.display());
        let opener = SocketOpener::new(Inherited::default());
        let wanted = addresses((&[&unix, "systemd:a", "systemd:b"], false));
        assert_eq!(opener.faults(&wanted, &[]).len(), 2);
        let failed = opener.open_both(&wanted, &[], &[]).unwrap_err();
        assert_eq!(failed.len(), 2);
        assert!(!path.exists());
        let (open, _) = opener.open_both(&wanted[..1], &[], &[]).unwrap();
        assert!(path.exists() && open[0].urls() == [unix]);
        assert_eq!(opener.faults(&wanted[..1], &[]).len(), 1);
        assert!(path.exists());
        let nowhere = addresses((&["unix:/nowhere/http.sock"], false));
        assert_eq!(opener.faults(&nowhere, &[]).len(), 1);
        opener.remove_files();
        assert!(!path.exists());
    }
}
