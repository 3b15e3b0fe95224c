//! What a node notices of the machine, and updates of modules under traffic.

use std::fs;

use serde_json::Value;

use crate::world::{World, can_run, until};

#[test]
fn a_module_is_told_at_once_when_a_route_moves_or_an_interface_goes_down() {
    if !can_run() {
        return;
    }
    let world = World::line();
    world.link("r", "spare0", "b", "spare1");
    world.sh("r", "ip addr add 10.9.0.1/24 dev spare0; ip route add 192.0.2.0/24 via 10.2.0.2");
    let node = world.node("r", "--link tun");
    let loaded = node.load("modules/monitor --property watch_routes=192.0.2.9,2001:db8::9");
    assert!(loaded.status.success(), "{loaded:?}");
    let machine = || node.report("monitor")["machine"].take();
    assert_eq!(machine()["routes"]["192.0.2.9"], "rb via 10.2.0.2");
    let told = |part: &str| {
        until(&format!("it is told that {part}"), || {
            let events = machine()["events"].take();
            events.as_array().is_some_and(|all| all.iter().any(|event| event["what"].as_str() == Some(part)))
        });
    };
    world.sh("r", "ip route replace 192.0.2.0/24 via 10.9.0.2");
    told("the route to 192.0.2.9 is spare0 via 10.9.0.2, not rb via 10.2.0.2");
    world.sh("r", "ip -6 route add 2001:db8::/64 via fd00:2::2");
    told("the route to 2001:db8::9 is rb via fd00:2::2, not no way");
    world.sh("b", "ip link set dev spare1 down");
    told("interface spare0: down");
    world.sh("r", "ip link del spare0");
    told("interface spare0: gone");
    // What the node does to the routing tables itself is no news.
    let before = machine()["events"].as_array().map_or(0, Vec::len);
    let loaded = node.load("modules/uppercase");
    assert!(loaded.status.success(), "{loaded:?}");
    node.unload("uppercase");
    let after = machine()["events"].take();
    let of_tun = |event: &Value| event["what"].as_str().is_some_and(|what| what.contains("route"));
    assert!(!after.as_array().unwrap()[before..].iter().any(of_tun), "{after:#}");
    node.stop();
}

#[test]
fn an_update_under_traffic_loses_no_packet_and_one_that_fails_changes_nothing() {
    if !can_run() {
        return;
    }
    let world = World::line();
    let write = |name: &str, version: &str, code: &str| {
        let folder = world.dir.join(name);
        fs::create_dir_all(&folder).unwrap();
        let manifest = format!(
            "name = \"counting\"\nversion = \"{version}\"\napi = 1\nsummary = \"Counts.\"\nauthors = [\"Nobody\"]\n\
             licence = \"Apache-2.0\"\n[packets]\nsees = \"headers\"\nchanges = \"headers\"\n\
             [[filters]]\nprotocol = \"icmp\"\n"
        );
        fs::write(folder.join("module.toml"), manifest).unwrap();
        let code = format!(
            "local M = {{}}\nlocal n = 0\nfunction M.on_packet(p) n += 1 return 'pass' end\n\
             function M.report() return {{ n = n }} end\nfunction M.export_state() return n end\n{code}\nreturn M\n"
        );
        fs::write(folder.join("init.luau"), code).unwrap();
        folder.display().to_string()
    };
    let import = "function M.import_state(state) n = state end";
    let (old, new) = (write("v1", "1.0.0", import), write("v2", "2.0.0", import));
    let bad = write("v3", "3.0.0", "function M.start() error('bad start') end");
    let node = world.node("r", "--link tun");
    assert!(node.load(&old).status.success(), "{}", node.log());
    let ping = world.command("a", "ping -q -n -i 0.01 -c 300 10.2.0.2").stdout(std::process::Stdio::piped()).spawn();
    let ping = ping.unwrap();
    for _ in 0..10 {
        for folder in [&new, &bad, &old] {
            let answer = node.ask(&format!("module update counting {folder}"));
            let text = String::from_utf8_lossy(&answer.stderr);
            assert_eq!(answer.status.success(), folder != &bad, "{text}");
            if folder == &bad {
                assert!(text.contains("goes on as it was, with version 2.0.0") && text.contains("bad start"), "{text}");
            }
        }
    }
    let said = String::from_utf8_lossy(&ping.wait_with_output().unwrap().stdout).into_owned();
    assert!(said.contains("300 packets transmitted, 300 received, 0% packet loss"), "{said}");
    // Each echo and its answer, counted over all versions.
    assert_eq!(node.report("counting")["n"], 600.0);
    assert_eq!(node.status()["instances"].as_array().unwrap().len(), 1);
    node.stop();
}

#[test]
fn a_server_is_updated_without_losing_a_connection() {
    if !can_run() {
        return;
    }
    let world = World::line();
    let write = |name: &str, version: &str| {
        let folder = world.dir.join(name);
        fs::create_dir_all(&folder).unwrap();
        let manifest = format!(
            "name = \"echo\"\nversion = \"{version}\"\napi = 1\nsummary = \"Echoes.\"\nauthors = [\"Nobody\"]\n\
             licence = \"Apache-2.0\"\n[permissions]\nlisten = [\"tcp:7000\"]\n"
        );
        fs::write(folder.join("module.toml"), manifest).unwrap();
        let code = format!(
            "local task, tcp = require('@netserv/task'), require('@netserv/tcp')
             local M = {{}}
             function M.run(ctx)
               local listener = assert(tcp.listen({{ port = 7000 }}))
               while true do
                 local stream = listener:accept()
                 if stream == nil then return end
                 task.spawn(function()
                   while true do
                     local line = stream:read_line()
                     if line == nil then break end
                     stream:write('{version} ' .. line .. '\\n')
                   end
                   stream:close()
                 end)
               end
             end
             return M"
        );
        fs::write(folder.join("init.luau"), code).unwrap();
        folder.display().to_string()
    };
    let versions = [write("v1", "1.0.0"), write("v2", "2.0.0")];
    let node = world.node("r", "--link tun");
    let loaded = node.load(&versions[0]);
    assert!(loaded.status.success(), "{loaded:?}");
    // One connection that lives through all updates, and a new one every few milliseconds.
    let script = "import socket, time\n\
                  old = socket.create_connection(('10.1.0.1', 7000)); kept = old.makefile('rw')\n\
                  seen, count, end = set(), 0, time.time() + 4\n\
                  def ask(file, text):\n    \
                    file.write(text + '\\n'); file.flush(); line = file.readline().split()\n    \
                    assert line[1] == text, line\n    return line[0]\n\
                  first = ask(kept, 'kept')\n\
                  while time.time() < end:\n    \
                    assert ask(kept, 'kept') == first\n    \
                    new = socket.create_connection(('10.1.0.1', 7000)); file = new.makefile('rw')\n    \
                    seen.add(ask(file, 'new')); file.close(); new.close(); count += 1; time.sleep(0.005)\n\
                  assert seen == {'1.0.0', '2.0.0'} and count > 50, (seen, count)\nprint('fine', count)\n";
    fs::write(world.dir.join("client.py"), script).unwrap();
    let client = world.command("a", "python3 client.py 2>&1").stdout(std::process::Stdio::piped()).spawn().unwrap();
    for round in 1..=10 {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let answer = node.ask(&format!("module update echo {} --drain 10", versions[round % 2]));
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    }
    let said = String::from_utf8_lossy(&client.wait_with_output().unwrap().stdout).into_owned();
    assert!(said.starts_with("fine"), "{said} {}", node.log());
    until("the old versions have ended", || node.status()["instances"].as_array().unwrap().len() == 1);
    node.stop();
}
