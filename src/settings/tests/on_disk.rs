//! Tests of files that include others, and of folders and pages on the disk.

use super::*;

#[test]
fn folders_that_are_not_there_are_faults_and_pages_are_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("site")).unwrap();
    fs::write(at("site/404.html"), "").unwrap();
    let shown = folder.path().display().to_string();
    let write = |name: &str, root: &str, more: &str| {
        let text = format!("[route.\"/{name}\"]\nfiles = {{ root = '{shown}/{root}' }}\n{more}\n");
        fs::write(at(&format!("{name}.toml")), text).unwrap();
    };
    write("a", "gone", "");
    write("b", "site/404.html", "");
    write(
        "c",
        "site",
        "errors = { 404 = '/404.html', 500 = '/500.html' }",
    );
    write("d", "site/404.html/x", "");
    let main = "include = ['a.toml', 'b.toml', 'c.toml', 'd.toml', 'none/*.toml']\n";
    fs::write(at("main.toml"), main).unwrap();
    assert!(load(Some(&at("main.toml")), &BTreeMap::new()).is_ok());
    let error = check(Some(&at("main.toml")), &BTreeMap::new()).unwrap_err();
    let expected = format!(
        "{shown}/a.toml:2:11: route.\"/a\".files.root: there is no folder {shown}/gone; create it, or name another one\n\
         {shown}/b.toml:2:11: route.\"/b\".files.root: {shown}/site/404.html is not a folder; name the folder that the file is in\n\
         {shown}/d.toml:2:11: route.\"/d\".files.root: {shown}/site/404.html/x can't be used: Not a directory (os error 20)\n\
         3 faults in the settings; nothing was started"
    );
    assert_eq!(error.to_string(), expected);
    fs::write(at("main.toml"), "include = ['c.toml', 'none/*.toml']\n").unwrap();
    let checked = check(Some(&at("main.toml")), &BTreeMap::new()).unwrap();
    let warnings: Vec<_> = checked.warnings.iter().map(ToString::to_string).collect();
    let expected = [
        format!("{shown}/c.toml:3:1: route.\"/c\".errors: there is no file {shown}/site/500.html"),
        format!("{shown}/main.toml:1:1: include: no file matches {shown}/none/*.toml"),
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn a_file_in_the_place_of_the_logs_or_the_data_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let (file, shown) = (folder.path().join("a.toml"), folder.path().display());
    let told =
        format!("{shown}/a.toml is a file where the folder of the logs should be; move it away");
    for wrong in ["a.toml", "a.toml/x"] {
        let text = format!("logging.file.dir = '{shown}/{wrong}'\n");
        fs::write(&file, text).unwrap();
        let error = check(Some(&file), &BTreeMap::new()).unwrap_err();
        let fault = error.to_string();
        assert!(fault.contains(": logging.file.dir: "), "{fault}");
        assert!(fault.contains(&told), "{fault}");
        let text = format!("server.data = '{shown}/{wrong}'\n[resource.pens]\n");
        fs::write(&file, text).unwrap();
        let error = check(Some(&file), &BTreeMap::new()).unwrap_err();
        let fault = error.to_string();
        assert!(fault.contains(": server.data: "), "{fault}");
        assert!(fault.contains(&told.replace("logs", "records")), "{fault}");
        // The store refuses it at the start.
        assert!(
            super::super::load(Some(&file), &BTreeMap::new(), CheckedFolders::AllButData).is_ok()
        );
    }
    let text = format!("server.data = '{shown}/none'\n[resource.pens]\n");
    fs::write(&file, text).unwrap();
    let warnings = check(Some(&file), &BTreeMap::new()).unwrap().warnings;
    assert!(warnings.is_empty(), "a missing one is created");
}

#[test]
fn copies_are_outside_the_data_and_their_folders_are_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let (file, shown) = (folder.path().join("a.toml"), folder.path().display());
    let written = |key: &str, copies: &str| {
        let text =
            format!("server.data = '{shown}/data'\n{key} = '{shown}/{copies}'\n[resource.pens]\n");
        fs::write(&file, text).unwrap();
        check(Some(&file), &BTreeMap::new())
    };
    for key in ["storage.archive", "backup.to"] {
        for inside in ["data", "data/copies"] {
            let told = written(key, inside).unwrap_err().to_string();
            assert!(told.contains(": is in the data folder"), "{told}");
        }
        let warnings = written(key, "other").unwrap().warnings;
        let told = warnings.first().unwrap().to_string();
        assert!(told.contains("there is no folder"), "{told}");
        assert!(written(key, ".").unwrap().warnings.is_empty());
    }
    fs::write(&file, "backup.every = '1h'\n").unwrap();
    let warnings = check(Some(&file), &BTreeMap::new()).unwrap().warnings;
    let told = warnings.first().unwrap().to_string();
    assert!(told.contains("has no effect without backup.to"), "{told}");
}

#[test]
fn options_of_a_folder_that_can_have_no_effect_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (file, shown) = (folder.path().join("a.toml"), folder.path().display());
    let told = |members: &str, cache: &str| {
        let text = format!("{cache}\n[route.'/']\nfiles = {{ root = '{shown}', {members} }}\n");
        fs::write(&file, text).unwrap();
        let warnings = check(Some(&file), &BTreeMap::new()).unwrap().warnings;
        let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        warnings.join("\n")
    };
    let no_cache = "file_cache.budget = '0 B'\nfile_cache.max_file = '0 B'";
    let warned = told("compress = ['gzip']", no_cache);
    assert!(warned.contains("files.compress: has no effect"), "{warned}");
    assert_eq!(told("compress = []", no_cache), "");
    assert_eq!(told("compress = ['gzip']", ""), "");
    let warned = told("fallback = '/a.html'", "");
    assert!(
        warned.contains("files.fallback: there is no file"),
        "{warned}"
    );
    fs::write(folder.path().join("a.html"), "").unwrap();
    assert_eq!(told("fallback = '/a.html'", ""), "");
}

#[test]
fn single_keys_are_read_whatever_else_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    let source = |file: &Path| SettingsSource::find(Some(file.to_owned()), BTreeMap::new());
    let (admin, data) = (Some("127.0.0.1:3001"), Some("data"));
    for (text, found) in [
        (
            "server.admin = '127.0.0.1:9'\nlimits.body = 7",
            [Some("127.0.0.1:9"), data, Some("none")],
        ),
        (
            "server.admin = 'unix:a'\nserver.data = 'b'\nstorage.archive = 'c'\n[route.x]\nfiles = 1",
            [Some("unix:a"), Some("b"), Some("c")],
        ),
        ("limits.body = 7", [admin, data, Some("none")]),
        ("server.admin = 9", [None, data, Some("none")]),
        ("server.admin = 'a'", [None, data, Some("none")]),
        ("server.data = ''", [admin, None, Some("none")]),
        ("storage.archive = 1", [admin, data, None]),
        ("server = 1", [None, None, Some("none")]),
        // These may hide what is not written before.
        ("limits.body =", [None, None, None]),
        ("include = ['none.toml']", [None, None, None]),
        (
            "server.data = 'b'\ninclude = ['none.toml']\n[limits\n",
            [None, Some("b"), None],
        ),
    ] {
        fs::write(&file, text).unwrap();
        let source = source(&file);
        let shown = |path: PathBuf| path.display().to_string();
        let archive = source.archive().ok();
        let read = [
            source.admin().ok().map(|admin| admin.to_string()),
            source.data().ok().map(shown),
            archive.map(|archive| archive.map_or_else(|| "none".to_owned(), shown)),
        ];
        let read = read.each_ref().map(Option::as_deref);
        assert_eq!(read, found, "{text}");
    }
    assert!(source(&folder.path().join("none")).admin().is_err());
}

#[test]
fn an_admin_listener_that_other_machines_reach_is_worth_a_look() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    for (admin, warned) in [
        ("0.0.0.0:1", true),
        ("127.0.0.1:1", false),
        ("unix:a", false),
    ] {
        fs::write(&file, format!("server.admin = '{admin}'\n")).unwrap();
        let warnings = check(Some(&file), &BTreeMap::new()).unwrap().warnings;
        let told = warnings
            .iter()
            .any(|warning| warning.problem.contains("without a password"));
        assert_eq!(told, warned, "{admin}");
    }
}

#[test]
fn what_is_no_regular_file_or_too_long_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // Whoever opens a pipe waits for the other end.
    let made = std::process::Command::new("mkfifo")
        .arg(at("pipe"))
        .status();
    assert!(made.unwrap().success());
    fs::create_dir(at("folder")).unwrap();
    let long = fs::File::create(at("long")).unwrap();
    long.set_len((16 << 20) + 1).unwrap();
    let irregular = "it is no regular file";
    for (path, problem) in [
        (at("pipe"), irregular),
        (at("folder"), irregular),
        ("/dev/zero".into(), irregular),
        (at("long"), "it has more than 16777216 bytes"),
    ] {
        let path = path.display().to_string();
        let error = load(Some(Path::new(&path)), &BTreeMap::new()).unwrap_err();
        let told = error.to_string();
        assert!(told.contains(&path) && told.contains(problem), "{told}");
        let file = at("a.toml");
        fs::write(&file, format!("include = ['{path}']\n")).unwrap();
        let error = load(Some(&file), &BTreeMap::new()).unwrap_err();
        let told = format!(": include: {path} can't be read: {problem}");
        assert!(error.to_string().contains(&told), "{error}");
    }
}

#[test]
fn included_files_are_read_and_the_same_key_twice_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("conf.d")).unwrap();
    fs::write(
        at("a.toml"),
        "include = [\"conf.d/*.toml\", \"none.d/*.toml\"]\n[server]\ndrain = \"1s\"\n",
    )
    .unwrap();
    fs::write(at("conf.d/b.toml"), "[resource.pens]\n").unwrap();
    let settings = load(Some(&at("a.toml")), &BTreeMap::new()).unwrap();
    assert_eq!(settings.resources["pens"].path, "/pens");
    fs::write(at("conf.d/c.toml"), "[server]\ndrain = \"2s\"\n").unwrap();
    let error = load(Some(&at("a.toml")), &BTreeMap::new())
        .unwrap_err()
        .to_string();
    let (c, a) = (at("conf.d/c.toml"), at("a.toml"));
    let (c, a) = (c.display(), a.display());
    assert!(
        error.starts_with(&format!(
            "{c}:2:1: server.drain: written before, at {a}:3:1; keep one"
        )),
        "{error}"
    );
}

#[test]
fn files_are_included_once_and_what_editors_leave_behind_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("conf.d")).unwrap();
    let text = "include = [\"a.toml\", \"conf.d/../a.toml\", \"conf.d/*.toml\"]\n[server]\ndrain = \"1s\"\n";
    fs::write(at("a.toml"), text).unwrap();
    fs::write(at("conf.d/b.toml"), "[resource.pens]\n").unwrap();
    fs::write(at("conf.d/.b.toml"), "no TOML").unwrap();
    fs::write(at("conf.d/b.toml~"), "no TOML").unwrap();
    let settings = load(Some(&at("a.toml")), &BTreeMap::new()).unwrap();
    assert_eq!(settings.server.drain, Duration::from_secs(1));
    assert_eq!(settings.resources["pens"].path, "/pens");
}

#[test]
fn files_may_share_tables_and_a_list_replaces_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = "include = [\"b.toml\"]\nserver.listen = [\"127.0.0.1:1\"]\n[route.\"/v1.0\"]\nfiles = { root = \"a\" }\n";
    fs::write(at("a.toml"), text).unwrap();
    let text =
        "server.drain = \"1s\"\n[route.\"/v1.1\"]\nfiles = { root = \"b\", index = \"x.html\" }\n";
    fs::write(at("b.toml"), text).unwrap();
    let settings = load(Some(&at("a.toml")), &BTreeMap::new()).unwrap();
    assert_eq!(settings.server.listen, ["127.0.0.1:1".parse().unwrap()]);
    assert_eq!(settings.server.drain, Duration::from_secs(1));
    let roots: Vec<_> = settings
        .routes
        .iter()
        .map(|(prefix, route)| {
            let folder = route.target.folder().unwrap();
            (prefix.as_str(), folder.root.to_str().unwrap())
        })
        .collect();
    assert_eq!(roots, [("/v1.0", "a"), ("/v1.1", "b")]);
}
