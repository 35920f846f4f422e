//! The sockets of a system: bound, or inherited from the service manager.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::net::getsockname;

use super::errors::BuildError;
use super::system::Bound;
use crate::listener::{
    Inherited, OpenTo, SharedListening, SocketError, SocketFile, bind, bind_unix,
};
use crate::settings::{AdminListen, Listen, ServerSettings};

/// The sockets of a system, bound or inherited.
pub(super) struct Sockets {
    pub(super) admin: OwnedFd,
    /// Its address.
    admin_at: AdminListen,
    pub(super) public: Vec<Arc<SharedListening>>,
    /// The paths of the public unix sockets.
    unix: Vec<PathBuf>,
    /// Of all unix sockets.
    pub(super) files: Vec<SocketFile>,
}

impl Sockets {
    /// Binds or takes every socket. The error names all that can't be had.
    pub(super) fn new(
        server: &ServerSettings,
        mut inherited: Inherited,
    ) -> Result<Self, BuildError> {
        let (mut public, mut files, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        let mut take = |listen: &Listen| -> Result<(), SocketError> {
            match listen {
                Listen::Tcp(address) => {
                    let socket = bind(*address, server.ipv6_only)?;
                    public.push(SharedListening::new(socket.into(), false));
                }
                Listen::Unix(path) => {
                    let (socket, file) = bind_unix(path, OpenTo::Group)?;
                    public.push(SharedListening::new(socket.into(), false));
                    files.push(file);
                }
                Listen::Inherited(name) => {
                    let sockets = inherited.named(name)?.into_iter();
                    public.extend(sockets.map(|socket| SharedListening::new(socket, true)));
                }
            }
            Ok(())
        };
        let admin = admin_socket(server);
        let listens = server.listen.iter();
        failed.extend(listens.filter_map(|listen| take(listen).err()));
        let admin = admin.map_err(|error| failed.push(error)).ok();
        let Some((admin, admin_file)) = admin.filter(|_| failed.is_empty()) else {
            return Err(BuildError::Sockets(failed));
        };
        if !inherited.is_empty() {
            let names = inherited.names();
            tracing::warn!(%names, "sockets were passed to this process that server.listen does not name: write systemd:NAME");
        }
        let admin_at = match &server.admin {
            AdminListen::Tcp(written) => {
                let bound = getsockname(&admin).ok();
                let bound = bound.and_then(|bound| bound.try_into().ok());
                AdminListen::Tcp(bound.unwrap_or(*written))
            }
            unix @ AdminListen::Unix(_) => unix.clone(),
        };
        let unix = files.iter().map(|file| file.path.clone()).collect();
        files.extend(admin_file);
        Ok(Self {
            admin,
            admin_at,
            public,
            unix,
            files,
        })
    }

    /// The addresses at which clients reach them.
    pub(super) fn bound(&self) -> io::Result<Bound> {
        let public = self.public.iter().filter_map(|socket| socket.address());
        Ok(Bound {
            public: public.collect::<io::Result<_>>()?,
            unix: self.unix.clone(),
            admin: self.admin_at.clone(),
        })
    }
}

/// The socket of the admin listener, and its file if it is a unix socket.
fn admin_socket(server: &ServerSettings) -> Result<(OwnedFd, Option<SocketFile>), SocketError> {
    match &server.admin {
        AdminListen::Tcp(address) => {
            let socket = bind(*address, server.ipv6_only)?;
            Ok((socket.into(), None))
        }
        AdminListen::Unix(path) => {
            let (socket, file) = bind_unix(path, OpenTo::Owner)?;
            Ok((socket.into(), Some(file)))
        }
    }
}
