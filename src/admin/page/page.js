// Refreshes the page without loading it again. While the daemon does not answer, what it last said stays.
"use strict";
const age = document.getElementById("age");
let last = new Date();

async function refresh() {
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(3000) });
    if (!answer.ok) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(page.querySelector("main"));
    last = new Date();
    tell("Refreshed every two seconds, last at " + last.toLocaleTimeString() + ".", false);
  } catch {
    tell("No answer since " + last.toLocaleTimeString() + ". This is what the daemon said then.", true);
  }
  setTimeout(refresh, 2000);
}

// A screen reader announces the change from one state to the other, and not each refresh.
function tell(text, bad) {
  if (age.classList.contains("bad") !== bad) {
    age.setAttribute("role", bad ? "alert" : "status");
    age.classList.toggle("bad", bad);
  } else {
    age.removeAttribute("role");
  }
  age.textContent = text;
}

setTimeout(refresh, 2000);
