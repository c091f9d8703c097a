/* Search on pages opened as files: browsers start no worker from file://, so a hidden frame does its work. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.title = "search";
      document.documentElement.append(this.frame);
      const inner = this.frame.contentWindow;
      const answer = data => {
        const event = new MessageEvent("message", { data });
        this.dispatchEvent(event);
        if (this.onmessage) this.onmessage(event);
      };
      inner.postMessage = answer;
      inner.importScripts = (...scripts) => Promise.all(scripts.map(source => this.load(source)));
      this.load(new URL(address, location.href).href).then(() => {
        this.ready = true;
        this.waiting.splice(0).forEach(data => this.tell(data));
      });
    }

    load(source) {
      return new Promise((done, failed) => {
        const script = this.frame.contentDocument.createElement("script");
        Object.assign(script, { src: source, onload: done, onerror: failed });
        this.frame.contentDocument.body.append(script);
      });
    }

    tell(data) {
      const inner = this.frame.contentWindow;
      inner.dispatchEvent(new inner.MessageEvent("message", { data }));
    }

    postMessage(data) {
      if (this.ready) this.tell(data);
      else this.waiting.push(data);
    }

    terminate() {
      this.frame.remove();
    }
  };
}
