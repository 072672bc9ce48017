//! PgBouncer in front of a Postgres server.

use super::{
    Database, PostgresServer,
    ports::Port,
    process::{self, Account, Folder, Process},
};
use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
};

/// A pooler in transaction mode: every transaction may meet another of at most four sessions.
pub struct Pooler {
    _process: Process,
    _folder: Folder,
    port: Port,
}

impl Pooler {
    /// All of the server's databases, as its superuser whoever asks.
    pub fn start(server: &PostgresServer) -> Pooler {
        let (folder, port) = (Folder::new("pgbouncer"), Port::claim());
        let account = server.account();
        let configuration = format!(
            "[databases]\n\
             * = host=127.0.0.1 port={} user=postgres\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {}\n\
             unix_socket_dir =\n\
             auth_type = any\n\
             pool_mode = transaction\n\
             default_pool_size = 4\n\
             max_client_conn = 500\n",
            server.port(),
            port.number(),
        );
        let file = folder.file("pgbouncer.ini");
        fs::write(&file, configuration).unwrap();
        account.inspect(|account| account.owns(&folder));
        let program = process::program(&["pgbouncer"], &[], "pgbouncer");
        let process = Process::start(&folder, account, "KILL", &[program.as_os_str(), file.as_os_str()]);
        let connects = || TcpStream::connect((Ipv4Addr::LOCALHOST, port.number())).is_ok();
        let answers = process::answers(&process, &folder, connects);
        assert!(answers, "pgbouncer does not start; it printed:\n{}", folder.log());
        Pooler { _process: process, _folder: folder, port }
    }

    /// The address of a database by way of the pooler.
    pub fn url(&self, database: &Database<'_>) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.port.number(), database.name())
    }
}
