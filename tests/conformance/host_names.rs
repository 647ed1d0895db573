//! Host names in a directory on a real disk.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use sync_core::ErrorKind;
use sync_core::adapter::HostsDirectory;
use sync_core::port::HostNames;
use sync_core::testkit::conformance;

#[tokio::test]
async fn a_directory_of_hosts_files_keeps_every_promise_of_host_names() {
    let directory = tempfile::tempdir().unwrap();
    let told = || {
        let files = fs::read_dir(directory.path()).unwrap();
        let texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
        let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
        let mut told: Vec<_> = lines.filter(|line| !line.starts_with('#')).collect();
        told.sort();
        told
    };
    conformance::host_names(&HostsDirectory::new(directory.path().to_owned(), "ours"), told).await;
}

#[tokio::test]
async fn files_of_others_in_the_directory_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let [ours, others] = ["ours", "others"].map(|owner| HostsDirectory::new(directory.path().to_owned(), owner));
    let address = "10.0.0.1".parse().unwrap();
    others.publish("a", "a.example", address).await.unwrap();
    fs::write(directory.path().join("workspace-b"), "10.0.0.2 b.example\n").unwrap();
    fs::write(directory.path().join("printers"), "10.0.0.3 printer\n").unwrap();
    assert!(ours.list().await.unwrap().is_empty());
    for workspace in ["a", "b"] {
        let taken = ours.publish(workspace, "c.example", address).await.unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::Refused, "{taken}");
        ours.withdraw(workspace).await.unwrap();
    }
    for path in ["../a", "a/b", "", "a\nb"] {
        assert_eq!(ours.publish(path, "c.example", address).await.unwrap_err().kind(), ErrorKind::Refused, "{path:?}");
        assert_eq!(ours.withdraw(path).await.unwrap_err().kind(), ErrorKind::Refused, "{path:?}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    assert_eq!(others.list().await.unwrap(), ["a"]);
}

#[tokio::test]
async fn a_file_that_a_process_died_over_is_removed_and_one_that_is_being_written_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let [old, young, other] = [".workspace-0123456789abcdef", ".workspace-fedcba9876543210", ".printers"]
        .map(|name| directory.path().join(name));
    let two_hours_ago = SystemTime::now() - Duration::from_secs(7_200);
    for path in [&old, &young, &other] {
        fs::write(path, "# workspace-owner: ours").unwrap();
        if path != &young {
            File::options().write(true).open(path).unwrap().set_modified(two_hours_ago).unwrap();
        }
    }
    let names = HostsDirectory::new(directory.path().to_owned(), "ours");
    assert!(names.list().await.unwrap().is_empty());
    assert_eq!([&old, &young, &other].map(|path| path.exists()), [false, true, true]);
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_told_by_the_setting_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = HostsDirectory::new(directory.path().join("nowhere"), "ours");
    for failed in [
        nowhere.list().await.unwrap_err(),
        nowhere.publish("a", "a.example", "10.0.0.1".parse().unwrap()).await.unwrap_err(),
    ] {
        assert_eq!(failed.kind(), ErrorKind::Configuration, "{failed}");
        assert!(failed.to_string().contains("workspaces.host_names"), "{failed}");
    }
}
